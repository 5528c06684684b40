//! `boot-parameters.json`: the boot parameter that shaped zone Movable, which no record carries.

use crate::report::{RecordingError, RecordingErrorKind};
use pagebuddy_core::config::{Config, CoreSize};
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// Name of the file beside the recordings.
pub const FILE_NAME: &str = "boot-parameters.json";

/// Applies the parameters that the recording's folder names for it, if any.
pub fn apply(config: &mut Config, recording: &Path) -> Result<(), RecordingError> {
    let path = recording.parent().unwrap_or(Path::new("")).join(FILE_NAME);
    let fail = |kind, message: String| Err(RecordingError::new(path.display().to_string(), 0, kind, message));
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return fail(RecordingErrorKind::Io, error.to_string()),
    };
    let table: BTreeMap<String, String> = match serde_json::from_str(&text) {
        Ok(table) => table,
        Err(error) => return fail(RecordingErrorKind::Json, format!("not a table of texts: {error}")),
    };
    let Some(parameters) = recording.file_name().and_then(|name| name.to_str()).and_then(|name| table.get(name)) else {
        return Ok(());
    };
    for parameter in parameters.split_whitespace() {
        if let Err(message) = apply_parameter(config, parameter) {
            return fail(RecordingErrorKind::Record, message);
        }
    }
    match config.validate() {
        Ok(()) => Ok(()),
        Err(error) => fail(RecordingErrorKind::Record, format!("`{parameters}`: {error}")),
    }
}

fn apply_parameter(config: &mut Config, parameter: &str) -> Result<(), String> {
    match parameter.split_once('=') {
        Some(("kernelcore", "mirror")) => config.kernelcore_mirror = true,
        Some(("kernelcore", size)) => config.kernelcore = core_size(size, config.page_shift)?,
        Some(("movablecore", size)) => config.movablecore = core_size(size, config.page_shift)?,
        None if parameter == "movable_node" => config.movable_node = true,
        _ => return Err(format!("`{parameter}` is not kernelcore=, movablecore= or movable_node")),
    }
    Ok(())
}

/// A size as the kernel's command line writes it (mm/page_alloc.c, `cmdline_parse_core`): bytes
/// with an optional suffix, or a percentage.
fn core_size(text: &str, page_shift: u32) -> Result<CoreSize, String> {
    let bad = || format!("`{text}` is not a size");
    if let Some(percent) = text.strip_suffix('%') {
        return Ok(CoreSize::Percent(percent.parse().map_err(|_| bad())?));
    }
    let (digits, shift) = match text.bytes().last().map(|b| b.to_ascii_uppercase()) {
        Some(b'K') => (&text[..text.len() - 1], 10),
        Some(b'M') => (&text[..text.len() - 1], 20),
        Some(b'G') => (&text[..text.len() - 1], 30),
        Some(b'T') => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    let number: u64 = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).map_err(|_| bad())?,
        None => digits.parse().map_err(|_| bad())?,
    };
    let bytes = number.checked_mul(1 << shift).ok_or_else(bad)?;
    Ok(CoreSize::Pages(bytes >> page_shift))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sizes() {
        for (text, size) in [
            ("128M", CoreSize::Pages(32768)),
            ("1g", CoreSize::Pages(262_144)),
            ("0x2000", CoreSize::Pages(2)),
            ("4097", CoreSize::Pages(1)),
            ("50%", CoreSize::Percent(50)),
        ] {
            assert_eq!(core_size(text, 12), Ok(size), "{text}");
        }
        for text in ["", "M", "-1", "1Q", "%", "99999999999999999999", "99999999999T"] {
            assert!(core_size(text, 12).is_err(), "{text}");
        }
    }

    #[test]
    fn rejects_other_parameters() {
        let mut config = Config::default();
        assert!(apply_parameter(&mut config, "mem=100M").is_err());
        assert!(apply_parameter(&mut config, "kernelcore").is_err());
        apply_parameter(&mut config, "movablecore=64M").expect("a known parameter");
        assert_eq!(config.movablecore, CoreSize::Pages(16384));
    }
}
