//! Damage to an input: what networks, mistakes and malice make of it.

use rand::{Rng, RngCore, rngs::StdRng};

/// Most bytes of an input.
const MOST: usize = 96 * 1024;

/// Bytes that mean something somewhere: ends of ranges, and MessagePack's markers of what has a length.
const TELLING: [u8; 24] = [
    0x00, 0x01, 0x7f, 0x80, 0x81, 0x8f, 0x90, 0x91, 0x9f, 0xbf, 0xc0, 0xc1, 0xc4, 0xc6, 0xca, 0xcb, 0xcf,
    0xd3, 0xd9, 0xdb, 0xdd, 0xdf, 0xfe, 0xff,
];

/// Pieces that decoders stumble over: huge counts of MessagePack and of variable-length integers, numbers at and beyond
/// ends, and words of JSON, addresses and headers.
const PIECES: [&[u8]; 46] = [
    b"\xdd\xff\xff\xff\xff",
    b"\xdc\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xde\xff\xff",
    b"\xdb\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xc6\x7f\xff\xff\xff",
    b"\xc9\xff\xff\xff\xff\x01",
    b"\xdd\x00\x01\x00\x00",
    b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00",
    b"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00",
    b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",
    b"\xca\x7f\xc0\x00\x00",
    b"\xca\x7f\x7f\xff\xff",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\xff\xff\xff\xff\x0f",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80",
    b"\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03",
    b"[",
    b"{\"",
    b"]",
    b"}",
    b",",
    b":",
    b"null",
    b"true",
    b"NaN",
    b"-0",
    b"1e999",
    b"1e308",
    b"-9223372036854775809",
    b"18446744073709551616",
    b"4294967296",
    b"0.1",
    b"\"__proto__\"",
    b"\\ud800",
    b"\\u0000",
    b"\xed\xa0\x80",
    b"\xf0\x9f\x8e\xa5",
    b"***",
    b"://",
    b"%00",
    b"../",
    b"user:secret@",
    b"bearer ",
];

/// Damages an input in none to six places; `another` makes what it may be mixed with.
pub(super) fn damage(
    random: &mut StdRng,
    mut input: Vec<u8>,
    another: impl Fn(&mut StdRng) -> Vec<u8>,
) -> Vec<u8> {
    let times = [0, 1, 1, 1, 2, 2, 3, 6][random.random_range(0..8)];
    for _ in 0..times {
        once(random, &mut input, &another);
    }
    if random.random_range(0..2000) == 0 {
        swell(random, &mut input);
    }
    input.truncate(MOST);
    input
}

fn once(random: &mut StdRng, input: &mut Vec<u8>, another: &impl Fn(&mut StdRng) -> Vec<u8>) {
    let length = input.len();
    let at = random.random_range(0..=length);
    let until = (at + random.random_range(0..=16)).min(length);
    match random.random_range(0..10) {
        0 | 1 if at < length => input[at] ^= 1 << random.random_range(0..8),
        2 if at < length => input[at] = TELLING[random.random_range(0..TELLING.len())],
        3 if at < length => input[at] = random.random(),
        4 => input.truncate(at),
        5 => drop(input.drain(at..until)),
        6 => {
            let piece = input[at..until].to_vec();
            let to = random.random_range(0..=length);
            input.splice(to..to, piece);
        }
        7 => {
            let other = another(random);
            let from = random.random_range(0..=other.len());
            input.truncate(at);
            input.extend(&other[from..]);
        }
        8 => {
            let piece = PIECES[random.random_range(0..PIECES.len())];
            let over = if random.random() { (at + piece.len()).min(length) } else { at };
            input.splice(at..over, piece.iter().copied());
        }
        _ => {
            let bytes = extreme(random).to_be_bytes();
            let width = [1, 2, 4, 8][random.random_range(0..4)];
            let over = (at + width).min(length);
            input.splice(at..over, bytes[8 - width..].iter().copied());
        }
    }
}

/// A number near an end of some width.
fn extreme(random: &mut StdRng) -> u64 {
    let end = 1_u64.checked_shl(random.random_range(0..=64)).unwrap_or(0);
    end.wrapping_add(random.random_range(0..3)).wrapping_sub(1)
}

/// Repeats a piece until the input is large: long lists, deep nests, endless words.
fn swell(random: &mut StdRng, input: &mut Vec<u8>) {
    let at = random.random_range(0..=input.len());
    let until = (at + random.random_range(1..=32)).min(input.len());
    let piece = match input.get(at..until) {
        Some(piece) if !piece.is_empty() && random.random() => piece.to_vec(),
        _ => PIECES[random.random_range(0..PIECES.len())].to_vec(),
    };
    let times = (random.next_u32() as usize % MOST) / piece.len();
    input.splice(at..at, piece.repeat(times));
}
