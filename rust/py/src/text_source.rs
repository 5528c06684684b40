//! Arguments that are a text or name a file with it.

use crate::errors::MemblockError;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

/// Larger files are no memory map and no boot log.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// A text, or the file it is in.
pub enum TextSource {
    /// The text itself.
    Text(String),
    /// A file to read.
    Path(PathBuf),
}

impl<'a, 'py> FromPyObject<'a, 'py> for TextSource {
    type Error = PyErr;

    /// `bytes` are text; `str` is text if it has a line break or looks like a line of one of the
    /// formats; everything else is a path.
    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = object.cast::<PyBytes>() {
            return Ok(TextSource::Text(String::from_utf8_lossy(bytes.as_bytes()).into_owned()));
        }
        if let Ok(text) = object.cast::<PyString>() {
            // Surrogates stand for bytes of a file name, or came from a damaged log.
            let text = text.to_string_lossy();
            if text.is_empty()
                || text.contains('\n')
                || [" : ", "[mem ", "[0x", "..0x"].iter().any(|mark| text.contains(mark))
            {
                return Ok(TextSource::Text(text.into_owned()));
            }
        }
        object.extract().map(TextSource::Path)
    }
}

impl From<&str> for TextSource {
    /// A path.
    fn from(path: &str) -> Self {
        TextSource::Path(path.into())
    }
}

impl TextSource {
    /// The text. Bytes that are not UTF-8 are replaced, not refused: logs have them.
    pub fn read(self, py: Python<'_>) -> PyResult<String> {
        let path = match self {
            TextSource::Text(text) => return Ok(text),
            TextSource::Path(path) => path,
        };
        let name = path.display().to_string();
        py.detach(|| read_file(&path)).map_err(|error| match error {
            ReadError::Io(error) => {
                let text = error.to_string();
                // Python shows the number itself.
                let reason = text.split(" (os error").next().unwrap_or_default().to_owned();
                match error.raw_os_error() {
                    // OSError picks the subclass by the number.
                    Some(errno) => PyOSError::new_err((errno, reason, name)),
                    None => PyOSError::new_err(format!("{name}: {reason}")),
                }
            }
            ReadError::Kind(what) => MemblockError::new_err(format!("{name}: {what}")),
        })
    }
}

enum ReadError {
    Io(io::Error),
    Kind(&'static str),
}

fn read_file(path: &PathBuf) -> Result<String, ReadError> {
    // Opening a pipe or a device could wait for ever.
    if !std::fs::metadata(path).map_err(ReadError::Io)?.is_file() {
        return Err(ReadError::Kind("not a regular file"));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(ReadError::Io)?;
    let read = file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(ReadError::Io)?;
    if read as u64 > MAX_FILE_BYTES {
        return Err(ReadError::Kind("larger than 256 MiB: not a memory map"));
    }
    Ok(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}
