//! Tests of peers over loopback.
