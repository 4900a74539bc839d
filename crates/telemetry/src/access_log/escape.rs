//! How values from the network are made harmless.

/// Which bytes of a field may stand as they are.
#[derive(Clone, Copy)]
pub(super) enum Field {
    /// Between spaces: no space inside.
    Bare,
    /// Between quotes: spaces inside.
    Quoted,
}

/// Printable ASCII but for the quote, the backslash and the space.
const PLAIN: [bool; 256] = plain_bytes();

const fn plain_bytes() -> [bool; 256] {
    let mut plain = [false; 256];
    let mut byte = b'!';
    while byte <= b'~' {
        plain[byte as usize] = byte != b'"' && byte != b'\\';
        byte += 1;
    }
    plain
}

impl Field {
    fn is_plain(self, byte: u8) -> bool {
        PLAIN[byte as usize] || (byte == b' ' && matches!(self, Self::Quoted))
    }

    /// Appends the value for a text line, `-` when it is empty.
    pub(super) fn write(self, value: &[u8], out: &mut Vec<u8>) {
        if value.is_empty() {
            out.push(b'-');
        } else if value.iter().all(|&byte| self.is_plain(byte)) {
            out.extend_from_slice(value);
        } else {
            self.write_escaped(value, out);
        }
    }

    /// Keeps letters and digits of any script, so that file names stay readable; all else is escaped.
    #[cold]
    fn write_escaped(self, value: &[u8], out: &mut Vec<u8>) {
        for chunk in value.utf8_chunks() {
            for char in chunk.valid().chars() {
                let mut buffer = [0; 4];
                let bytes = char.encode_utf8(&mut buffer).as_bytes();
                let plain = if char.is_ascii() {
                    self.is_plain(bytes[0])
                } else {
                    char.is_alphanumeric()
                };
                if plain {
                    out.extend_from_slice(bytes)
                } else {
                    write_hex(bytes, out)
                }
            }
            write_hex(chunk.invalid(), out);
        }
    }
}

/// Appends a JSON string, quotes included. Bytes that are not UTF-8 become U+FFFD.
pub(super) fn write_json_string(value: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    if value
        .iter()
        .all(|&byte| PLAIN[byte as usize] || byte == b' ')
    {
        out.extend_from_slice(value);
    } else {
        write_json_escaped(value, out);
    }
    out.push(b'"');
}

#[cold]
fn write_json_escaped(value: &[u8], out: &mut Vec<u8>) {
    for char in String::from_utf8_lossy(value).chars() {
        match char {
            '"' | '\\' => out.extend_from_slice(&[b'\\', char as u8]),
            '\u{fffd}' => out.extend_from_slice("\u{fffd}".as_bytes()),
            ' '..='~' => out.push(char as u8),
            _ if char.is_alphanumeric() => {
                out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
            }
            _ => {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    out.extend_from_slice(b"\\u");
                    write_digits(&unit.to_be_bytes(), out);
                }
            }
        }
    }
}

fn write_hex(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        out.extend_from_slice(b"\\x");
        write_digits(&[*byte], out);
    }
}

fn write_digits(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

/// Appends a number in decimal.
pub(super) fn write_number(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}
