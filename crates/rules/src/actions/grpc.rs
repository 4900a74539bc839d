//! Statuses of gRPC.

/// The gRPC status that stands for an HTTP status in an answer of our own to a gRPC request.
pub fn grpc_status_for(status: u16) -> u32 {
    match status {
        400 => 13,                   // INTERNAL
        401 => 16,                   // UNAUTHENTICATED
        403 => 7,                    // PERMISSION_DENIED
        404 => 12,                   // UNIMPLEMENTED
        429 | 502 | 503 | 504 => 14, // UNAVAILABLE
        _ => 2,                      // UNKNOWN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_statuses_have_a_grpc_status() {
        let cases = [
            (400, 13),
            (401, 16),
            (403, 7),
            (404, 12),
            (429, 14),
            (503, 14),
            (504, 14),
            (500, 2),
        ];
        for (status, want) in cases {
            assert_eq!(grpc_status_for(status), want, "{status}");
        }
    }
}
