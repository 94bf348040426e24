//! Garbage in the heap's place: whatever memory says, and whatever objects are said to lie there,
//! the search and the chains come to an end.

use super::tests::{BASE, image, layout_of, made, types};
use super::*;
use crate::fuzz::fuzz;
use crate::heap::python::{Object, Objects, Shape, TypeInfo};

/// All layouts that are read.
const SHAPES: [Shape; 21] = [
    Shape::Other,
    Shape::Type,
    Shape::Dict,
    Shape::List,
    Shape::Tuple,
    Shape::Set,
    Shape::Deque,
    Shape::Text,
    Shape::Int,
    Shape::Module,
    Shape::Function,
    Shape::Method,
    Shape::Code,
    Shape::Cell,
    Shape::Frame,
    Shape::Traceback,
    Shape::Generator,
    Shape::Exception,
    Shape::LruCache,
    Shape::Future,
    Shape::NdArray,
];

/// Types whose sizes, flags and names vary with a seed.
fn odd_types(seed: u64) -> Vec<TypeInfo> {
    let names = ["dict", "collections.OrderedDict", "hamt_bitmap_node", "x._tee_dataobject", "a.B"];
    let odd = SHAPES.iter().enumerate().map(|(index, shape)| {
        let mixed = seed.wrapping_mul(index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        TypeInfo {
            avma: BASE + (mixed >> 50 << 4),
            name: names[(mixed >> 8) as usize % names.len()].to_owned(),
            basic_size: [0, 16, 48, 264, 408, u64::MAX][(mixed >> 16) as usize % 6],
            item_size: [0, 8, u64::MAX][(mixed >> 20) as usize % 3],
            flags: mixed >> 24,
            dict_offset: [0, 16, -8, i64::MIN, i64::MAX][(mixed >> 32) as usize % 5],
            weak_list_offset: 24,
            shape: *shape,
            ..TypeInfo::default()
        }
    });
    odd.collect()
}

/// The whole of what is done with a heap.
fn run(bytes: &[u8], types: &[TypeInfo], objects: &Objects, minor: u8, seed: u64) {
    let words: Vec<u64> =
        bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
    let image = image(&words);
    let layout = layout_of(minor);
    let view = View::new(&image, types, objects, &layout);
    let roots = Roots { runtime_avma: BASE + seed % 4096, ..Roots::default() };
    let (reached, _) = search(&view, &roots, &|avma| view.around(avma).is_some());
    let subjects: Vec<ObjectIndex> =
        (0..objects.all().len().min(2000) as u32).map(ObjectIndex).collect();
    view.refill();
    let paths = Paths::of(&view, &reached, &subjects);
    let mut ways = Ways::default();
    for subject in &subjects {
        let way = ways.of(&view, &reached, &paths, *subject);
        let speaker = Speaker { view: &view, ways: &ways, hide_keys: false, name_static: None };
        if let Some(way) = way.filter(|_| subject.0.is_multiple_of(8)) {
            assert!(speaker.words(way).steps.len() <= 32);
        }
        if subject.0 < 8 {
            let mut count = 0;
            subtree::each(&view, &reached, *subject, &mut |_| count += 1);
            assert!(count <= objects.all().len());
        }
    }
}

#[test]
fn garbage_brings_the_search_to_an_end() {
    let (whole, types) = (made(), types());
    let objects = Objects::new(whole.objects);
    let bytes: Vec<u8> = whole.words.iter().flat_map(|word| word.to_le_bytes()).collect();
    fuzz("heap graph", std::slice::from_ref(&bytes), |bytes| {
        let seed = bytes.iter().fold(7_u64, |sum, byte| sum.wrapping_mul(31) ^ u64::from(*byte));
        let minor = 8 + (seed % 8) as u8;
        run(bytes, &types, &objects, minor, seed);
        // The same memory, said to be full of objects of odd types.
        let odd = odd_types(seed);
        let many = (0..bytes.len() as u64 / 16).map(|at| Object {
            avma: BASE + at * 16,
            kind: TypeIndex((seed.wrapping_mul(at + 3) >> 40) as u32 % (odd.len() as u32 + 1)),
            block_bytes: (seed.wrapping_mul(at + 5) >> 50) as u32,
        });
        run(bytes, &odd, &Objects::new(many.collect()), minor, seed);
    });
}
