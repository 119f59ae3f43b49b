//! The wire contract: generated code is current, and equals what clients are built from.
//!
//! `make proto` runs this file with `TIDEGATE_REGENERATE=1`: then the first test writes the
//! generated files instead of comparing them. No `protoc` is needed, here or at build time.

use std::fs;
use std::path::Path;

use prost::Message;

use crate::harness::tools::{project, regenerate, run_client};

#[test]
fn generated_code_is_current() {
    let scratch = tempfile::tempdir().unwrap();
    generate(scratch.path());
    for name in GENERATED {
        let fresh = fs::read(scratch.path().join(name)).unwrap();
        let committed = project().join("src/api/oip/pb").join(name);
        if regenerate() {
            fs::write(&committed, &fresh).unwrap();
        }
        // Not `assert_eq!`: a difference would print both files whole.
        let current = fs::read(&committed).is_ok_and(|bytes| bytes == fresh);
        assert!(current, "{} is not what proto/ says: run `make proto`", committed.display());
    }
}

#[test]
fn our_messages_equal_tritonclients_own() {
    let scratch = tempfile::tempdir().unwrap();
    generate(scratch.path());
    let descriptor = scratch.path().join("descriptor.bin");
    run_client("descriptors.py", &[descriptor.to_str().unwrap()]);
}

/// Writes [`GENERATED`] into `folder`, from `proto/`.
fn generate(folder: &Path) {
    let proto = project().join("proto");
    let mut files = protox::compile([proto.join("inference.proto")], [&proto])
        .expect("proto/ is valid: protox says where it is not");
    tonic_prost_build::configure()
        .build_transport(false)
        // Tensors and uploaded model files stay views of the received frame.
        .bytes(".inference")
        // Few keys, mostly none; and encoded in the same order every time.
        .btree_map(".inference")
        .out_dir(folder)
        .compile_fds(files.clone())
        .expect("the descriptors of a valid proto make valid code");
    for file in &mut files.file {
        // Comments and positions: two thirds of the bytes, and callers by reflection need none.
        file.source_code_info = None;
    }
    fs::write(folder.join("descriptor.bin"), files.encode_to_vec())
        .expect("a temporary folder takes a file");
}

/// The files in `src/api/oip/pb` that nobody edits.
const GENERATED: [&str; 2] = ["inference.rs", "descriptor.bin"];
