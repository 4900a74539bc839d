//! HTTP/1.1 messages as they are on the wire: header names keep their case, order and repetition.

use std::io::{self, BufRead};

/// A request or a response.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// The first line, without its line end.
    pub start: String,
    /// As received.
    pub headers: Vec<(String, String)>,
    /// Without its framing.
    pub body: Vec<u8>,
    /// After a chunked body.
    pub trailers: Vec<(String, String)>,
}

impl Message {
    /// The first value of a header, whatever its name's case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.values(name).into_iter().next()
    }

    /// All values of a header, whatever its name's case.
    pub fn values(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// Whether a header came with exactly this spelling of its name.
    pub fn spells(&self, name: &str) -> bool {
        self.headers.iter().any(|(found, _)| found == name)
    }

    /// The method of a request, or the protocol of a response.
    pub fn method(&self) -> &str {
        self.start.split(' ').next().unwrap_or_default()
    }

    /// The target of a request, or the status of a response.
    pub fn target(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Reads a head; nothing when the connection ended before its first byte.
    pub(crate) fn read_head(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let Some(start) = read_line(reader)? else {
            return Ok(None);
        };
        let headers = read_fields(reader)?;
        Ok(Some(Self {
            start,
            headers,
            ..Self::default()
        }))
    }

    /// Reads the body that the headers announce. `until_close`: what no length announces goes on
    /// to the end of the connection, as in responses.
    pub(crate) fn read_body(
        &mut self,
        reader: &mut impl BufRead,
        until_close: bool,
    ) -> io::Result<()> {
        if self.is_chunked() {
            while let Some(chunk) = read_chunk(reader)? {
                self.body.extend(chunk);
            }
            self.trailers = read_fields(reader)?;
        } else if let Some(length) = self.content_length() {
            self.body.resize(length, 0);
            reader.read_exact(&mut self.body)?;
        } else if until_close {
            reader.read_to_end(&mut self.body)?;
        }
        Ok(())
    }

    pub(crate) fn is_chunked(&self) -> bool {
        self.header("transfer-encoding")
            .is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
    }

    fn content_length(&self) -> Option<usize> {
        self.header("content-length")?.parse().ok()
    }
}

/// The next chunk of a chunked body; nothing at its end, the trailers still to be read.
pub(crate) fn read_chunk(reader: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let line = read_line(reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let digits = line.split(';').next().unwrap_or_default().trim();
    let length = usize::from_str_radix(digits, 16)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("chunk size {line:?}")))?;
    if length == 0 {
        return Ok(None);
    }
    let mut chunk = vec![0; length + 2];
    reader.read_exact(&mut chunk)?;
    chunk.truncate(length);
    Ok(Some(chunk))
}

fn read_fields(reader: &mut impl BufRead) -> io::Result<Vec<(String, String)>> {
    let mut fields = Vec::new();
    loop {
        let line = read_line(reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if line.is_empty() {
            return Ok(fields);
        }
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        fields.push((name.to_owned(), value.trim().to_owned()));
    }
}

fn read_line(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    if reader.read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.pop() != Some(b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(Some(String::from_utf8_lossy(&line).into_owned()))
}
