use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use memmap2::Mmap;

/// The files that are mapped, so that a slice can be told to lie in one of them.
static MAPS: Mutex<Vec<Weak<Mmap>>> = Mutex::new(Vec::new());

struct Mapped(Arc<Mmap>);

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

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
    let map = Arc::new(unsafe { Mmap::map(file)? });
    let mut maps = MAPS.lock().unwrap_or_else(PoisonError::into_inner);
    maps.retain(|map| map.strong_count() > 0);
    maps.push(Arc::downgrade(&map));
    Ok(Bytes::from_owner(Mapped(map)))
}

/// Gives the memory that holds `bytes` back to the system, if they lie in a mapped file: they are read from the file
/// again when somebody looks at them. Says whether they do.
pub(crate) fn release(bytes: &[u8]) -> bool {
    let maps = MAPS.lock().unwrap_or_else(PoisonError::into_inner);
    let around = |map: &Mmap| {
        let at = (bytes.as_ptr() as usize).checked_sub(map.as_ptr() as usize)?;
        (at <= map.len() && bytes.len() <= map.len() - at).then_some(at)
    };
    let found = maps.iter().filter_map(Weak::upgrade).find_map(|map| Some((around(&map)?, map)));
    let Some((at, map)) = found.filter(|_| !bytes.is_empty()) else { return false };
    #[cfg(unix)]
    {
        // SAFETY: the mapping is read-only, so that its pages hold what the file holds, before and after.
        unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, at, bytes.len()) }.is_ok()
    }
    #[cfg(not(unix))]
    {
        let _ = (at, map);
        false
    }
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

    #[test]
    fn memory_that_is_no_file_stays() {
        let own = vec![7u8; 10_000];
        assert!(!release(&own));
        assert!(own.iter().all(|&b| b == 7));
    }

    /// What the system holds of the mapping that `at` lies in, in KiB.
    #[cfg(target_os = "linux")]
    fn resident(at: usize) -> Option<usize> {
        let text = std::fs::read_to_string("/proc/self/smaps").ok()?;
        let mut lines = text.lines().skip_while(|line| {
            let range = line.split_whitespace().next().and_then(|range| range.split_once('-'));
            let number = |text| usize::from_str_radix(text, 16).ok();
            let range = range.and_then(|(from, to)| Some(number(from)?..number(to)?));
            !range.is_some_and(|range| range.contains(&at))
        });
        lines.find_map(|line| line.strip_prefix("Rss:")?.trim().strip_suffix(" kB")?.parse().ok())
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn released_pages_are_read_again() -> io::Result<()> {
        let folder = tempfile_folder("release")?;
        let path = folder.join("weights");
        let content: Vec<u8> = (0..4 << 20).map(|i| (i / 3) as u8).collect();
        std::fs::write(&path, &content)?;
        let bytes = map_file(&path)?;
        let at = bytes.as_ptr() as usize;
        assert!(bytes[..] == content[..]);
        assert_eq!(resident(at), Some(4096));
        let tensor = crate::Tensor::from_bytes(crate::DType::U8, &[2 << 20], bytes.slice(1 << 20..3 << 20))
            .expect("as many bytes as elements");
        assert!(tensor.release_pages());
        // Less than half stays where the system maps large pages, of which it drops whole ones.
        assert!(resident(at) <= Some(2048));
        assert!(bytes[..] == content[..]);
        assert_eq!(resident(at), Some(4096));
        std::fs::remove_dir_all(&folder)
    }

    #[cfg(target_os = "linux")]
    fn tempfile_folder(name: &str) -> io::Result<std::path::PathBuf> {
        let folder = std::env::temp_dir().join(format!("oxidane-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).map(|()| folder)
    }
}
