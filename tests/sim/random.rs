//! A small generator, so that a seed means the same run on every machine and in every year. Pure: no I/O.

/// `SplitMix64`: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
#[derive(Debug)]
pub struct Random(u64);

/// What texts are made of besides plain letters: characters that grow, shrink, stay, and ones cut off or invalid.
const PARTS: [&[u8]; 12] = [
    "straße".as_bytes(),
    "ŉ".as_bytes(),
    "ΐ".as_bytes(),
    "ﬁ".as_bytes(),
    "ı".as_bytes(),
    "𐐨".as_bytes(),
    "grün".as_bytes(),
    b"\xff",
    b"\xc3",
    b"\xe2\x82",
    b"\xf0\x90\x90",
    b"\0 A1",
];

impl Random {
    /// The generator of this name, which depends on the seed and the name alone: however much is drawn from others, and
    /// whatever others there are, it gives the same numbers.
    pub fn named(seed: u64, name: &str) -> Random {
        // The hash of Fowler, Noll and Vo, FNV-1a, so that each name begins somewhere else.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Random(seed ^ hash)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 up to and without `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// From `first` to `last`, both included.
    pub fn between(&mut self, first: usize, last: usize) -> usize {
        first + self.below(last - first + 1)
    }

    /// From 1 to `last`, small numbers as likely as large ones.
    pub fn magnitude(&mut self, last: usize) -> usize {
        let bits = self.below(last.ilog2() as usize + 1);
        self.between(1 << bits, last.min((2 << bits) - 1))
    }

    /// True once in `n` times; never for zero.
    pub fn one_in(&mut self, n: usize) -> bool {
        n > 0 && self.below(n) == 0
    }

    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// A text of so many bytes, the last character of which may be cut.
    pub fn text(&mut self, length: usize) -> Vec<u8> {
        let mut text = Vec::with_capacity(length + 8);
        let plain = self.one_in(3);
        while text.len() < length {
            if plain || self.one_in(2) {
                text.push(b'a' + self.below(26) as u8);
            } else if self.one_in(8) {
                text.push(self.next() as u8);
            } else {
                let part = self.pick(&PARTS);
                text.extend_from_slice(part);
            }
        }
        text.truncate(length);
        text
    }
}

#[test]
fn a_seed_and_a_name_mean_the_same_numbers_in_every_year() {
    let mut random = Random::named(0x2a, "peers");
    assert_eq!([random.next(), random.next()], [0x2a14_8b9f_130b_997c, 0x0ffc_50c6_f912_b4f6]);
    assert_ne!(Random::named(0x2a, "drops").next(), Random::named(0x2a, "peers").next());
}
