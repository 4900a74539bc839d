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

/// The HTTP status that stands for a gRPC status, where an upstream is judged by what it answers.
pub fn http_status_for(grpc: u32) -> u16 {
    match grpc {
        0 => 200,
        1 => 499,          // CANCELLED
        3 | 9 | 11 => 400, // INVALID_ARGUMENT, FAILED_PRECONDITION, OUT_OF_RANGE
        4 => 504,          // DEADLINE_EXCEEDED
        5 => 404,          // NOT_FOUND
        6 | 10 => 409,     // ALREADY_EXISTS, ABORTED
        7 => 403,          // PERMISSION_DENIED
        8 => 429,          // RESOURCE_EXHAUSTED
        12 => 501,         // UNIMPLEMENTED
        14 => 503,         // UNAVAILABLE
        16 => 401,         // UNAUTHENTICATED
        _ => 500,          // UNKNOWN, INTERNAL, DATA_LOSS and what is none
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

    #[test]
    fn grpc_statuses_have_an_http_status() {
        let cases = [
            (0, 200),
            (14, 503),
            (4, 504),
            (13, 500),
            (5, 404),
            (99, 500),
        ];
        for (status, want) in cases {
            assert_eq!(http_status_for(status), want, "{status}");
        }
    }
}
