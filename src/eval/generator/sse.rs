//! Server-sent events as the OpenAI API uses them: one `data:` line an event, bytes arriving in any pieces.

/// Longest line accepted; a server that sends more is not speaking this protocol.
const LINE_BYTES_MAX: usize = 16 << 20;

/// Collects bytes and gives complete `data:` payloads.
#[derive(Debug, Default)]
pub(super) struct Events {
    buffer: Vec<u8>,
}

impl Events {
    /// Add bytes and take the payloads that they complete.
    ///
    /// # Errors
    /// A line that never ends, or is not UTF-8.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<String>, String> {
        // Only new bytes can hold the next line's end; earlier ones were searched before.
        let mut searched = self.buffer.len();
        self.buffer.extend_from_slice(bytes);
        let mut found = Vec::new();
        let mut start = 0;
        while let Some(length) = self.buffer[searched..].iter().position(|byte| *byte == b'\n') {
            let end = searched + length;
            let line = std::str::from_utf8(&self.buffer[start..end])
                .map_err(|_| "the stream is not UTF-8".to_owned())?;
            if let Some(payload) = line.trim_end_matches('\r').strip_prefix("data:") {
                found.push(payload.trim().to_owned());
            }
            start = end + 1;
            searched = start;
        }
        self.buffer.drain(..start);
        if self.buffer.len() > LINE_BYTES_MAX {
            return Err(format!("the stream has a line of more than {LINE_BYTES_MAX} bytes"));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_come_out_whole_however_the_bytes_arrive() {
        let stream = ": comment\r\ndata: {\"é\": 1}\r\n\r\nevent: x\ndata:[DONE]\n\n".as_bytes();
        for size in 1..stream.len() {
            let mut events = Events::default();
            let found: Vec<String> =
                stream.chunks(size).flat_map(|piece| events.push(piece).unwrap()).collect();
            assert_eq!(found, ["{\"é\": 1}", "[DONE]"], "pieces of {size}");
        }
        assert!(Events::default().push(b"data: \xff\n").is_err());
    }
}
