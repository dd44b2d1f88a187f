//! HTTP (hyper) connections for `pool-core`: not there yet; this crate only keeps the name.
