//! Takes frames from sources and publishes them to Redis: capture, decode, resize, publish.
