//! The Redis protocol: keys, leases, commit scripts, frame and result readers and writers.
