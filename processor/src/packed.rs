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
