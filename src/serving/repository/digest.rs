//! What exactly a version is: one SHA-256 over all its files.
//!
//! Over the lines `<hex sha256>  <relative/path>\n` of every file, sorted by path bytes: what
//! `find . -type f -printf '%P\n' | LC_ALL=C sort | xargs sha256sum | sha256sum` prints in the
//! version's folder, so that anybody can check it without us.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::domain::model::Digest;

/// Reads every file below the folder; links that leave `root` are an error.
///
/// Takes as long as reading the files: call it on a thread that may block.
///
/// # Errors
///
/// The system's, with the path; `InvalidInput` for a link that leaves `root`.
pub fn of_folder(folder: &Path, root: &Path) -> io::Result<Digest> {
    let mut files = Vec::new();
    collect(folder, root, &mut files)?;
    let mut relative: Vec<&Path> =
        files.iter().filter_map(|file| file.strip_prefix(folder).ok()).collect();
    relative.sort_by_key(|path| path.as_os_str().as_bytes());
    let mut all = Sha256::new();
    for path in relative {
        let file = of_file(&folder.join(path)).map_err(|error| name(&error, path))?;
        all.update(file.to_string());
        all.update(b"  ");
        all.update(path.as_os_str().as_bytes());
        all.update(b"\n");
    }
    Ok(Digest::new(all.finalize().into()))
}

fn collect(folder: &Path, root: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder).map_err(|error| name(&error, folder))? {
        let path = entry?.path();
        let real = path.canonicalize().map_err(|error| name(&error, &path))?;
        if !real.starts_with(root) {
            let text = format!("{} leads out of the model repository", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        if real.is_dir() {
            // A link to a folder above would never end.
            if folder.starts_with(&real) {
                continue;
            }
            collect(&path, root, files)?;
        } else if real.is_file() {
            files.push(path);
        } else {
            // Reading a pipe would wait for whoever writes to it.
            let text = format!("{} is no regular file", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
    }
    Ok(())
}

fn of_file(path: &Path) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut block = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut block)?;
        if read == 0 {
            return Ok(Digest::new(hash.finalize().into()));
        }
        hash.update(block.get(..read).unwrap_or_default());
    }
}

fn name(error: &io::Error, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::of_folder;
    use std::fs;

    #[test]
    fn the_digest_is_what_sha256sum_prints() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().canonicalize().unwrap();
        fs::create_dir(folder.join("b")).unwrap();
        fs::write(folder.join("model.onnx"), b"hello").unwrap();
        fs::write(folder.join("b/weights"), b"world").unwrap();
        // printf '%s  b/weights\n%s  model.onnx\n' $(printf world | sha256sum | cut -d' ' -f1) \
        //   $(printf hello | sha256sum | cut -d' ' -f1) | sha256sum
        let expected = "4b409976e0920340b1f56f461789fc249661bb27261ef29cfb3ef7c48e89437a";
        assert_eq!(of_folder(&folder, &folder).unwrap().to_string(), expected);
    }

    #[test]
    fn a_link_out_of_the_repository_is_an_error() {
        let (root, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let folder = root.path().canonicalize().unwrap();
        fs::write(elsewhere.path().join("secret"), b"x").unwrap();
        std::os::unix::fs::symlink(elsewhere.path().join("secret"), folder.join("w")).unwrap();
        assert!(of_folder(&folder, &folder).unwrap_err().to_string().contains("leads out"));
    }
}
