//! What kind of file something is, by its first bytes, and by its name where they do not tell. No content is judged: that
//! a file is in a safe format does not make it harmless.

use std::fmt;
use std::str::FromStr;

macro_rules! formats {
    ($($variant:ident = $name:literal, $runs:ident;)*) => {
        /// A file format.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Format { $($variant,)* }

        impl Format {
            /// All of them.
            pub const ALL: &'static [Format] = &[$(Format::$variant,)*];

            /// As policies and reports spell it.
            pub const fn name(self) -> &'static str {
                match self { $(Format::$variant => $name,)* }
            }

            /// Can a loader be made to run what is in such a file?
            pub const fn runs_code(self) -> bool {
                match self { $(Format::$variant => formats!(@$runs),)* }
            }
        }
    };
    (@data) => { false };
    (@code) => { true };
}

formats! {
    Empty = "empty", data;
    Safetensors = "safetensors", data;
    Gguf = "gguf", data;
    Ggml = "ggml", data;
    Pickle = "pickle", code;
    PyTorch = "pytorch", code;
    NumPy = "npy", data;
    NumPyArchive = "npz", data;
    Keras = "keras", code;
    Hdf5 = "hdf5", code;
    Onnx = "onnx", data;
    TfLite = "tflite", data;
    TensorFlow = "tensorflow", code;
    SentencePiece = "sentencepiece", data;
    Parquet = "parquet", data;
    Arrow = "arrow", data;
    Sqlite = "sqlite", data;
    Zip = "zip", code;
    Tar = "tar", code;
    SevenZip = "7z", code;
    Compressed = "compressed", code;
    Elf = "elf", code;
    Windows = "windows-executable", code;
    MachO = "mach-o", code;
    Wasm = "wasm", code;
    Script = "script", code;
    Python = "python", code;
    PythonBytecode = "python-bytecode", code;
    Notebook = "notebook", code;
    Json = "json", data;
    Yaml = "yaml", data;
    Toml = "toml", data;
    Markdown = "markdown", data;
    Csv = "csv", data;
    Html = "html", code;
    Text = "text", data;
    Image = "image", data;
    Audio = "audio", data;
    Video = "video", data;
    Pdf = "pdf", data;
    Unknown = "unknown", code;
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = ();

    fn from_str(text: &str) -> Result<Format, ()> {
        let mut all = Format::ALL.iter().copied();
        all.find(|format| format.name() == text).ok_or(())
    }
}

/// As much of a file tells what it is.
pub const HEAD: usize = 4096;

/// The largest header that a safetensors file may have (its specification: 100 MB).
const MAX_SAFETENSORS: u64 = 100_000_000;

/// The format of the file called `name` that begins with `head`.
pub fn identify(name: &str, head: &[u8]) -> Format {
    if head.is_empty() {
        return Format::Empty;
    }
    let base = name.rsplit('/').next().unwrap_or(name);
    let extension = base.rsplit_once('.').map_or("", |(_, extension)| extension);
    let extension = extension.to_ascii_lowercase();
    by_content(base, &extension, head)
        .or_else(|| text(base, &extension, head))
        .unwrap_or_else(|| by_name(base, &extension, head))
}

/// What bytes alone tell.
fn by_content(base: &str, extension: &str, head: &[u8]) -> Option<Format> {
    let at = |offset: usize, what: &[u8]| {
        head.get(offset..)
            .is_some_and(|rest| rest.starts_with(what))
    };
    let magic: [(&[u8], Format); 33] = [
        (b"GGUF", Format::Gguf),
        (b"lmgg", Format::Ggml),
        (b"tjgg", Format::Ggml),
        (b"fmgg", Format::Ggml),
        (b"algg", Format::Ggml),
        (b"\x93NUMPY", Format::NumPy),
        (b"\x89HDF\r\n\x1a\n", Format::Hdf5),
        (b"PAR1", Format::Parquet),
        (b"PARE", Format::Parquet),
        (b"ARROW1", Format::Arrow),
        (b"FEA1", Format::Arrow),
        (b"SQLite format 3\0", Format::Sqlite),
        (b"7z\xbc\xaf\x27\x1c", Format::SevenZip),
        (b"\x1f\x8b", Format::Compressed),
        (b"BZh", Format::Compressed),
        (b"\xfd7zXZ\0", Format::Compressed),
        (b"\x28\xb5\x2f\xfd", Format::Compressed),
        (b"\x04\x22\x4d\x18", Format::Compressed),
        (b"\x7fELF", Format::Elf),
        (b"\xcf\xfa\xed\xfe", Format::MachO),
        (b"\xce\xfa\xed\xfe", Format::MachO),
        (b"\xca\xfe\xba\xbe", Format::MachO),
        (b"\0asm", Format::Wasm),
        (b"#!", Format::Script),
        (b"%PDF-", Format::Pdf),
        (b"\x89PNG\r\n\x1a\n", Format::Image),
        (b"\xff\xd8\xff", Format::Image),
        (b"GIF8", Format::Image),
        (b"fLaC", Format::Audio),
        (b"OggS", Format::Audio),
        (b"ID3", Format::Audio),
        (b"\x1a\x45\xdf\xa3", Format::Video),
        (b"MZ", Format::Windows),
    ];
    if let Some((_, format)) = magic.iter().find(|(bytes, _)| at(0, bytes)) {
        // Two letters begin many a text.
        if *format != Format::Windows || head.contains(&0) {
            return Some(*format);
        }
    }
    if at(0, b"PK\x03\x04") || at(0, b"PK\x05\x06") {
        return Some(zip(extension, head));
    }
    if at(0, b"RIFF") {
        return match head.get(8..12) {
            Some(b"WAVE") => Some(Format::Audio),
            Some(b"WEBP") => Some(Format::Image),
            Some(b"AVI ") => Some(Format::Video),
            _ => None,
        };
    }
    if at(4, b"TFL3") {
        return Some(Format::TfLite);
    }
    if at(4, b"ftyp") {
        return Some(Format::Video);
    }
    if at(257, b"ustar") {
        return Some(Format::Tar);
    }
    // Protocol 2 and later say so; and the magic number of torch's older form is a pickle too.
    if head.first() == Some(&0x80) && head.get(1).is_some_and(|protocol| *protocol <= 5) {
        let is_torch = at(2, b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19");
        return Some(if is_torch {
            Format::PyTorch
        } else {
            Format::Pickle
        });
    }
    let length = head.get(..8).and_then(|bytes| bytes.try_into().ok());
    let length = length.map(u64::from_le_bytes);
    if length.is_some_and(|length| (2..=MAX_SAFETENSORS).contains(&length)) && at(8, b"{") {
        return Some(Format::Safetensors);
    }
    if extension == "pyc" || at(2, b"\r\n") && extension == "pyo" {
        return Some(Format::PythonBytecode);
    }
    (base == "saved_model.pb").then_some(Format::TensorFlow)
}

fn zip(extension: &str, head: &[u8]) -> Format {
    let name = head.get(30..).unwrap_or_default();
    let name = name.get(..name.len().min(256)).unwrap_or_default();
    let holds = |what: &[u8]| memchr::memmem::find(name, what).is_some();
    match extension {
        "npz" => Format::NumPyArchive,
        "keras" => Format::Keras,
        "pt" | "pth" | "bin" | "ckpt" | "torchscript" | "ptl" => Format::PyTorch,
        _ if holds(b"data.pkl") || holds(b"constants.pkl") => Format::PyTorch,
        _ => Format::Zip,
    }
}

/// Text, of which kind its name says.
fn text(base: &str, extension: &str, head: &[u8]) -> Option<Format> {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let valid = match std::str::from_utf8(head) {
        Ok(text) => text,
        // Cut in the middle of a character.
        Err(error) if error.error_len().is_none() && head.len() > 4 => {
            std::str::from_utf8(head.get(..error.valid_up_to())?).ok()?
        }
        Err(_) => return None,
    };
    let is_text = |c: char| !c.is_control() || matches!(c, '\t' | '\n' | '\r' | '\u{c}');
    if !valid.chars().all(is_text) {
        return None;
    }
    let first = valid.trim_start();
    Some(match extension {
        // The oldest protocols of pickle are text.
        "pkl" | "pickle" | "joblib" | "dill" | "pt" | "pth" | "ckpt" | "bin" => Format::Pickle,
        "py" | "pyw" | "pyi" | "pyx" => Format::Python,
        "ipynb" => Format::Notebook,
        "sh" | "bash" | "zsh" | "ps1" | "bat" | "cmd" | "js" | "mjs" | "rb" | "pl" | "lua" => {
            Format::Script
        }
        "html" | "htm" | "svg" | "xhtml" => Format::Html,
        "json" | "jsonl" | "ndjson" => Format::Json,
        "yaml" | "yml" => Format::Yaml,
        "toml" => Format::Toml,
        "md" | "markdown" => Format::Markdown,
        "csv" | "tsv" => Format::Csv,
        _ if base == "Dockerfile" || base == "Makefile" => Format::Script,
        _ if first.starts_with("<!DOCTYPE html") || first.starts_with("<html") => Format::Html,
        _ => Format::Text,
    })
}

/// What a loader takes the file called `name` for, whatever is in it, if that runs code.
pub fn claimed(name: &str) -> Option<Format> {
    let base = name.rsplit('/').next().unwrap_or(name);
    let (_, extension) = base.rsplit_once('.')?;
    Some(match extension.to_ascii_lowercase().as_str() {
        "py" | "pyw" | "pyi" | "pyx" => Format::Python,
        "pyc" | "pyo" => Format::PythonBytecode,
        "pkl" | "pickle" | "joblib" | "dill" => Format::Pickle,
        "pt" | "pth" | "ckpt" => Format::PyTorch,
        "ipynb" => Format::Notebook,
        "sh" | "bash" | "zsh" | "ps1" | "bat" | "cmd" | "js" | "mjs" | "rb" | "pl" | "lua" => {
            Format::Script
        }
        "so" => Format::Elf,
        "dll" | "exe" => Format::Windows,
        "dylib" => Format::MachO,
        _ => return None,
    })
}

/// What has no mark of its own.
fn by_name(_: &str, extension: &str, head: &[u8]) -> Format {
    match extension {
        "pkl" | "pickle" | "joblib" | "dill" | "p" => Format::Pickle,
        "pt" | "pth" | "ckpt" => Format::PyTorch,
        // Protocol buffers begin with a field: 0x08 is the first, a number; 0x0a the first, of bytes.
        "onnx" if head.first() == Some(&0x08) => Format::Onnx,
        "model" | "spm" if head.first() == Some(&0x0a) => Format::SentencePiece,
        "pb" | "pbtxt" => Format::TensorFlow,
        "mp3" => Format::Audio,
        _ => Format::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_files_are() {
        let safetensors = [&2_u64.to_le_bytes()[..], b"{}"].concat();
        let huge = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
        let zip = |name: &str| [b"PK\x03\x04".as_slice(), &[0; 26], name.as_bytes()].concat();
        let mut tar = vec![0; 600];
        tar[257..262].copy_from_slice(b"ustar");
        for (name, head, expected) in [
            ("m.safetensors", safetensors.clone(), Format::Safetensors),
            ("a/b.bin", safetensors, Format::Safetensors),
            ("m.safetensors", huge, Format::Unknown),
            (
                "m.safetensors",
                b"\x80\x04cos\nsystem".to_vec(),
                Format::Pickle,
            ),
            ("m.safetensors", zip("archive/data.pkl"), Format::PyTorch),
            ("m.bin", zip("x"), Format::PyTorch),
            ("m.npz", zip("a.npy"), Format::NumPyArchive),
            ("m.zip", zip("a"), Format::Zip),
            ("m.gguf", b"GGUF\x03".to_vec(), Format::Gguf),
            ("m.onnx", b"\x08\x08\x12\x07pytorch".to_vec(), Format::Onnx),
            ("m.pkl", b"cos\nsystem\n(S'x'\ntR.".to_vec(), Format::Pickle),
            ("config.json", b"{\"a\": 1}".to_vec(), Format::Json),
            ("model.py", b"import os".to_vec(), Format::Python),
            ("run", b"#!/bin/sh\n".to_vec(), Format::Script),
            ("README.md", b"# x".to_vec(), Format::Markdown),
            ("notes", "größe".as_bytes().to_vec(), Format::Text),
            ("cut", "größ".as_bytes()[..5].to_vec(), Format::Text),
            ("MZ.txt", b"MZ is how it begins".to_vec(), Format::Text),
            ("x.dll", b"MZ\x90\0".to_vec(), Format::Windows),
            ("x", b"\x7fELF".to_vec(), Format::Elf),
            ("x.tar", tar, Format::Tar),
            ("x.bin", vec![1, 2, 3, 0], Format::Unknown),
            ("x", Vec::new(), Format::Empty),
            ("page", b"  <html><script>".to_vec(), Format::Html),
        ] {
            assert_eq!(identify(name, &head), expected, "{name} {head:?}");
        }
    }

    #[test]
    fn names_are_distinct() {
        for &format in Format::ALL {
            assert_eq!(format.name().parse(), Ok(format));
        }
    }
}
