// An image service on sharp that keeps each thumbnail with a label before it.
'use strict';

const sharp = require('sharp');

const LABEL = Buffer.alloc(64, 'l');
const kept = [];

async function thumbnail(picture, number) {
  const { data } = await sharp(picture)
    .resize(120, 112)
    .rotate(number % 2 ? 180 : 0)
    .raw()
    .toBuffer({ resolveWithObject: true });
  return label(data);
}

function label(pixels) {
  const labelled = Buffer.concat([LABEL, pixels]); // retains
  kept.push(labelled);
  return labelled;
}

async function start() {
  const create = { width: 400, height: 300, channels: 3, background: { r: 200, g: 20, b: 60 } };
  const picture = await sharp({ create }).png().toBuffer();
  return (number) => thumbnail(picture, number);
}

module.exports = { start, kept, leakingFunction: label.name };
