//! The index of a server's pages, for a browser.

use super::page::{Page, PageMethod, Pages};

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8884;--dim:#888;--accent:#0b7285}\
@media(prefers-color-scheme:dark){:root{--accent:#66d9e8}}\
body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:3rem auto;padding:0 1rem}\
h1{font-size:1.4rem;margin:0 0 1.5rem}\
table{border-collapse:collapse;width:100%}\
td{padding:.5rem .75rem .5rem 0;border-top:1px solid var(--line);vertical-align:top}\
td:first-child{white-space:nowrap;font-family:ui-monospace,monospace}\
a{color:var(--accent);text-decoration:none}a:hover{text-decoration:underline}\
small{color:var(--dim)}\
form{margin:0}button{font:inherit;color:var(--accent);background:none;border:0;padding:0;cursor:pointer}";

/// A whole document with a line for each page. Pages that change something are buttons.
pub(super) fn index(title: &str, pages: &Pages) -> String {
    let rows: String = pages.iter().map(row).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n\
         <table>\n{rows}</table>\n</body>\n</html>\n",
        title = escape(title),
    )
}

fn row(page: &Page) -> String {
    let (path, help) = (escape(page.path), escape(page.help));
    let link = match page.method {
        PageMethod::Get => format!("<a href=\"{path}\">{path}</a>"),
        PageMethod::Post => {
            format!(
                "<form method=\"post\" action=\"{path}\"><button>{path}</button> <small>POST</small></form>"
            )
        }
    };
    format!("<tr><td>{link}</td><td>{help}</td></tr>\n")
}

fn escape(text: &str) -> String {
    let escaped = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    escaped.replace('"', "&quot;")
}
