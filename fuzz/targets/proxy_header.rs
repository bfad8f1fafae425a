#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis::properties::proxy_header(data));
