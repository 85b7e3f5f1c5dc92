//! Measurements against the floor of bare decoding and inference.
