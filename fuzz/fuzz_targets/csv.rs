#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| softadapt_fuzz::readers::csv(bytes));
