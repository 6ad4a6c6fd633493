use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use bytes::Bytes;

/// What [`map_file`] reads from a pipe or another file that cannot be mapped, in bytes, at most.
pub const STREAM_LIMIT: u64 = 2 << 30;

/// The bytes of the file at `path`, mapped into memory and paged in as they are read.
///
/// The mapping lives as long as any slice of the returned [`Bytes`]. A regular file is mapped; a pipe is
/// read, up to [`STREAM_LIMIT`] bytes.
///
/// # Errors
/// Those of opening and mapping the file; `InvalidInput` for a folder or for a pipe that does not end
/// within the limit.
pub fn map_file(path: &Path) -> io::Result<Bytes> {
    map_open_file(&File::open(path)?)
}

/// As [`map_file`], for a file that is open already.
///
/// # Errors
/// Those of [`map_file`].
pub fn map_open_file(file: &File) -> io::Result<Bytes> {
    let kind = file.metadata()?;
    if kind.is_dir() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a folder, not a file"));
    }
    if !kind.is_file() {
        let mut bytes = Vec::new();
        file.take(STREAM_LIMIT + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > STREAM_LIMIT {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("it is no regular file and does not end within {STREAM_LIMIT} bytes"),
            ));
        }
        return Ok(Bytes::from(bytes));
    }
    // A mapping of no bytes is refused by some systems.
    if kind.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: the mapping is private and read-only. It is undefined for another process to truncate or
    // rewrite the file while it is mapped; as with every runtime that maps its weights, whoever may
    // write a model's file is trusted not to do that while the model is in use. Files that this project
    // writes are replaced by a rename, which leaves existing mappings as they were.
    let map = unsafe { memmap2::Mmap::map(file)? };
    Ok(Bytes::from_owner(map))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_files_of_every_size() -> io::Result<()> {
        let folder = std::env::temp_dir().join(format!("oxidane-map-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        for size in [0usize, 1, 4096, 10_000] {
            let path = folder.join(format!("{size}"));
            let content: Vec<u8> = (0..size).map(|i| i as u8).collect();
            std::fs::write(&path, &content)?;
            let bytes = map_file(&path)?;
            assert_eq!(&bytes[..], &content[..]);
            let part = bytes.slice(size / 2..);
            drop(bytes);
            assert_eq!(&part[..], &content[size / 2..]);
        }
        assert_eq!(map_file(&folder).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(map_file(&folder.join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
        std::fs::remove_dir_all(&folder)
    }
}
