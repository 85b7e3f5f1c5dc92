//! Video sources, decoding to I420, resizing and JPEG: used by the producer and by offline analysis.
