//! Line tables of real interpreters of 3.8, 3.9 and 3.10, with the lines that `dis` and
//! `co_lines()` give for them.

/// Name, first line, table, and lines by bytecode offset.
pub(super) type Sample = (&'static str, u32, &'static [u8], &'static [(u64, Option<u32>)]);

#[rustfmt::skip]
pub(super) const DELTAS: &[Sample] = &[
    ("plain of 3.8", 2, &[0x00, 0x01, 0x04, 0x02], &[(0, Some(3)), (2, Some(3)), (4, Some(5)), (10, Some(5))]),
    ("looped of 3.8", 7, &[0x00, 0x01, 0x04, 0x01, 0x08, 0x01, 0x08, 0x01, 0x04, 0x01, 0x02, 0x01, 0x02, 0xff, 0x0c, 0x03, 0x0e, 0x01, 0x0c, 0x02, 0x04, 0x01, 0x02, 0xff, 0x06, 0x02, 0x06, 0x01, 0x02, 0xff], &[(0, Some(8)), (2, Some(8)), (4, Some(9)), (10, Some(9)), (12, Some(10)), (18, Some(10)), (20, Some(11)), (22, Some(11)), (24, Some(12)), (26, Some(13)), (28, Some(12)), (38, Some(12)), (40, Some(15)), (52, Some(15)), (54, Some(16)), (64, Some(16)), (66, Some(18)), (68, Some(18)), (70, Some(19)), (72, Some(18)), (76, Some(18)), (78, Some(20)), (82, Some(20)), (84, Some(21)), (86, Some(20)), (90, Some(20))]),
    ("<listcomp> of 3.8", 20, &[0x06, 0x01, 0x02, 0x01, 0x04, 0xfe], &[(0, Some(20)), (4, Some(20)), (6, Some(21)), (8, Some(22)), (10, Some(22)), (12, Some(20)), (18, Some(20))]),
    ("waiting of 3.8", 24, &[0x00, 0x01, 0x0e, 0x01], &[(0, Some(25)), (12, Some(25)), (14, Some(26)), (42, Some(26))]),
    ("far of 3.8", 28, &[0x00, 0x01, 0x02, 0x7f, 0x00, 0x7f, 0x00, 0x30, 0x04, 0x00, 0x02, 0x01, 0x02, 0xff, 0x02, 0x80, 0x00, 0x80, 0x00, 0xd2, 0x04, 0x7f, 0x00, 0x7f, 0x00, 0x32], &[(0, Some(29)), (2, Some(331)), (6, Some(331)), (8, Some(332)), (10, Some(331)), (12, Some(29)), (14, Some(29)), (16, Some(333)), (26, Some(333))]),
    ("<lambda> of 3.8", 333, &[0x00, 0x01], &[(0, Some(334)), (2, Some(334))]),
    ("plain of 3.9", 2, &[0x00, 0x01, 0x04, 0x02], &[(0, Some(3)), (2, Some(3)), (4, Some(5)), (10, Some(5))]),
    ("looped of 3.9", 7, &[0x00, 0x01, 0x04, 0x01, 0x08, 0x01, 0x08, 0x01, 0x04, 0x01, 0x02, 0x01, 0x02, 0xff, 0x0c, 0x03, 0x0c, 0x01, 0x0a, 0x02, 0x04, 0x01, 0x02, 0xff, 0x0a, 0x01, 0x02, 0xff, 0x06, 0x02, 0x06, 0x01, 0x02, 0xff], &[(0, Some(8)), (2, Some(8)), (4, Some(9)), (10, Some(9)), (12, Some(10)), (18, Some(10)), (20, Some(11)), (22, Some(11)), (24, Some(12)), (26, Some(13)), (28, Some(12)), (38, Some(12)), (40, Some(15)), (50, Some(15)), (52, Some(16)), (60, Some(16)), (62, Some(18)), (64, Some(18)), (66, Some(19)), (68, Some(18)), (76, Some(18)), (78, Some(19)), (80, Some(18)), (84, Some(18)), (86, Some(20)), (90, Some(20)), (92, Some(21)), (94, Some(20)), (98, Some(20))]),
    ("<listcomp> of 3.9", 20, &[0x06, 0x01, 0x02, 0x01, 0x04, 0xfe], &[(0, Some(20)), (4, Some(20)), (6, Some(21)), (8, Some(22)), (10, Some(22)), (12, Some(20)), (18, Some(20))]),
    ("waiting of 3.9", 24, &[0x00, 0x01, 0x0e, 0x01], &[(0, Some(25)), (12, Some(25)), (14, Some(26)), (68, Some(26))]),
    ("far of 3.9", 28, &[0x00, 0x01, 0x02, 0x7f, 0x00, 0x7f, 0x00, 0x30, 0x06, 0x01, 0x02, 0xff, 0x02, 0x80, 0x00, 0x80, 0x00, 0xd2, 0x04, 0x7f, 0x00, 0x7f, 0x00, 0x32], &[(0, Some(29)), (2, Some(331)), (6, Some(331)), (8, Some(332)), (10, Some(331)), (12, Some(29)), (14, Some(29)), (16, Some(333)), (26, Some(333))]),
    ("<lambda> of 3.9", 333, &[0x00, 0x01], &[(0, Some(334)), (2, Some(334))]),
];

#[rustfmt::skip]
pub(super) const RANGES: &[Sample] = &[
    ("plain of 3.10", 2, &[0x04, 0x01, 0x08, 0x02], &[(0, Some(3)), (2, Some(3)), (4, Some(5)), (10, Some(5))]),
    ("looped of 3.10", 7, &[0x04, 0x01, 0x08, 0x01, 0x08, 0x01, 0x04, 0x01, 0x02, 0x01, 0x02, 0x01, 0x04, 0xff, 0x04, 0xff, 0x02, 0x80, 0x04, 0xfe, 0x0c, 0x06, 0x02, 0x01, 0x02, 0xff, 0x02, 0xfa, 0x04, 0x09, 0x02, 0x01, 0x0a, 0xff, 0x02, 0x01, 0x06, 0xff, 0x06, 0x02, 0x02, 0x01, 0x06, 0xff], &[(0, Some(8)), (2, Some(8)), (4, Some(9)), (10, Some(9)), (12, Some(10)), (18, Some(10)), (20, Some(11)), (22, Some(11)), (24, Some(12)), (26, Some(13)), (28, Some(12)), (30, Some(12)), (32, Some(11)), (34, Some(11)), (36, None), (38, Some(9)), (40, Some(9)), (42, Some(15)), (52, Some(15)), (54, Some(16)), (56, Some(15)), (58, Some(9)), (60, Some(18)), (62, Some(18)), (64, Some(19)), (66, Some(18)), (74, Some(18)), (76, Some(19)), (78, Some(18)), (82, Some(18)), (84, Some(20)), (88, Some(20)), (90, Some(21)), (92, Some(20)), (96, Some(20))]),
    ("<listcomp> of 3.10", 20, &[0x06, 0x00, 0x02, 0x01, 0x02, 0x01, 0x0a, 0xfe], &[(0, Some(20)), (4, Some(20)), (6, Some(21)), (8, Some(22)), (10, Some(20)), (18, Some(20))]),
    ("waiting of 3.10", 24, &[0x02, 0x80, 0x0e, 0x01, 0x0c, 0x01, 0x2e, 0xff], &[(0, None), (2, Some(25)), (14, Some(25)), (16, Some(26)), (26, Some(26)), (28, Some(25)), (72, Some(25))]),
    ("far of 3.10", 28, &[0x02, 0x01, 0x00, 0x7f, 0x00, 0x7f, 0x06, 0x30, 0x02, 0x01, 0x02, 0xff, 0x00, 0x81, 0x00, 0x81, 0x04, 0xd0, 0x00, 0x7f, 0x00, 0x7f, 0x0c, 0x32], &[(0, Some(29)), (2, Some(331)), (6, Some(331)), (8, Some(332)), (10, Some(331)), (12, Some(29)), (14, Some(29)), (16, Some(333)), (26, Some(333))]),
    ("<lambda> of 3.10", 333, &[0x04, 0x01], &[(0, Some(334)), (2, Some(334))]),
];
