// A native addon that nobody here wrote: pixels that it allocates while JavaScript calls it.
'use strict';

const { mark } = require('../truth');

/** Bytes of a pixel. */
const PIXEL = 4;

function canvases(bytes) {
  return canvasesMiddle(Math.max(1, bytes / PIXEL));
}
function canvasesMiddle(pixels) {
  return canvasesLeaf(pixels, 1);
}
function canvasesLeaf(width, height) {
  return mark(canvas.createCanvas(width, height));
}
const canvas = require('@napi-rs/canvas');

module.exports = { cases: [{ hold: canvases, hotRuns: 2_000 }] };
