//! Arrays of `f32` as bytes in a checkpoint: four bytes a number instead of five, and exact.

use serde::{Deserialize, Deserializer, Serializer, de::Error};

pub(crate) fn serialize<const N: usize, S: Serializer>(
    values: &[f32; N],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    serializer.serialize_bytes(&bytes)
}

pub(crate) fn deserialize<'de, const N: usize, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<[f32; N], D::Error> {
    let values = deserialize_any_number(deserializer)?;
    <[f32; N]>::try_from(values)
        .map_err(|values| D::Error::custom(format!("{} numbers are not {N}", values.len())))
}

/// Reads as many numbers as there are.
pub(crate) fn deserialize_any_number<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<f32>, D::Error> {
    let bytes = serde_bytes::ByteBuf::deserialize(deserializer)?;
    match bytes.as_chunks::<4>() {
        (values, []) => Ok(values.iter().map(|value| f32::from_le_bytes(*value)).collect()),
        _ => Err(D::Error::custom(format!("{} bytes are no `f32` numbers", bytes.len()))),
    }
}

/// As half precision (IEEE 754 binary16): two bytes a number, 11 bits of it. For numbers of 6e-5 to 65,504.
pub(crate) mod halves {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// What the exponents of the two forms count from differs by this.
    const BIAS: u32 = 127 - 15;
    const LARGEST: u32 = 0x7bff;

    pub(crate) fn serialize<const N: usize, S: Serializer>(
        values: &[f32; N],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| half(*value).to_le_bytes()).collect();
        serializer.serialize_bytes(&bytes)
    }

    pub(crate) fn deserialize<'de, const N: usize, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<[f32; N], D::Error> {
        let bytes = serde_bytes::ByteBuf::deserialize(deserializer)?;
        let (values, rest) = bytes.as_chunks::<2>();
        let values: Vec<f32> = values.iter().map(|value| whole(u16::from_le_bytes(*value))).collect();
        match (<[f32; N]>::try_from(values), rest) {
            (Ok(values), []) => Ok(values),
            _ => Err(D::Error::custom(format!("{} bytes are not {N} numbers", bytes.len()))),
        }
    }

    /// To what a checkpoint holds of them. What is not a number stays so.
    pub(crate) fn round(values: &mut [f32]) {
        for value in values.iter_mut().filter(|value| !value.is_nan()) {
            *value = whole(half(*value));
        }
    }

    /// The nearest; the largest of what is larger, zero of what is smaller.
    fn half(value: f32) -> u16 {
        let bits = value.to_bits();
        let magnitude = bits & 0x7fff_ffff;
        let nearest = (magnitude + 0xfff + (magnitude >> 13 & 1)) >> 13;
        let rebased = nearest.saturating_sub(BIAS << 10).min(LARGEST);
        let normal = if rebased < 1 << 10 { 0 } else { rebased };
        (bits >> 16 & 0x8000 | normal) as u16
    }

    fn whole(half: u16) -> f32 {
        let (sign, magnitude) = (u32::from(half & 0x8000) << 16, u32::from(half & 0x7fff));
        f32::from_bits(if magnitude < 1 << 10 { sign } else { sign | (magnitude + (BIAS << 10)) << 13 })
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn halves_are_the_nearest_of_eleven_bits() {
            for (value, expected) in [
                (0.0, 0x0000),
                (1.0, 0x3c00),
                (-2.0, 0xc000),
                (0.1, 0x2e66),
                (65_504.0, 0x7bff),
                (1e9, 0x7bff),
                (6.104e-5, 0x0400),
                (1e-6, 0x0000),
            ] {
                assert_eq!(half(value), expected, "{value}");
            }
            for step in 1..4000_u32 {
                let value = step as f32 * 0.013;
                assert!((whole(half(value)) / value - 1.0).abs() <= 1.0 / 2048.0, "{value}");
            }
        }
    }
}
