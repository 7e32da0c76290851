//! Hides secrets in text that machines show us: by the name a value stands under, and by what the value looks like.

/// What stands where a secret stood.
pub const HIDDEN: &str = "[redacted]";

const SECRET_WORDS: [&str; 16] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "api_key",
    "api-key",
    "credential",
    "private_key",
    "private-key",
    "auth",
    "cookie",
    "requirepass",
    "access_key",
    "access-key",
];

/// Whether a value under this name is a secret (`DB_PASSWORD`, `api-key`, `traefik…basicauth.users`).
pub fn is_secret_name(name: &str) -> bool {
    // authors and authorities are no secrets, authorization is one
    let name = name.to_ascii_lowercase().replace("authorization", "auth").replace("author", "");
    SECRET_WORDS.iter().any(|word| name.contains(word))
        || matches!(name.as_str(), "pwd" | "pass" | "pw")
        || ["_pass", "-pass", ".pass", "dbpass", "userpass", "_pwd", "_key"]
            .iter()
            .any(|ending| name.ends_with(ending))
}

/// `value`, or [`HIDDEN`] where its name or its shape says that it is a secret.
pub fn value(name: &str, value: &str) -> String {
    if !value.is_empty() && is_secret_name(name) { HIDDEN.to_owned() } else { text(value) }
}

/// A command line with the secrets in its arguments hidden: `--password x`, `--token=x`, `-e API_KEY=x`,
/// `scheme://user:x@host`, and values that look like a key.
pub fn command<I: IntoIterator<Item = S>, S: AsRef<str>>(arguments: I) -> Vec<String> {
    let mut hide_next = false;
    let mut shown = Vec::new();
    for argument in arguments {
        let argument = argument.as_ref();
        if std::mem::take(&mut hide_next) && !argument.starts_with('-') {
            shown.push(HIDDEN.to_owned());
            continue;
        }
        // `--token=x`, and `X-Api-Key: x` as curl takes it
        let is_named = |name: &str| !name.contains(char::is_whitespace) && is_secret_name(name);
        let pair = ["=", ": "].into_iter().find_map(|sign| {
            argument.split_once(sign).filter(|(name, _)| is_named(name)).map(|(name, _)| (name, sign))
        });
        if let Some((name, sign)) = pair {
            shown.push(format!("{name}{sign}{HIDDEN}"));
        } else {
            hide_next = is_secret_option(argument);
            shown.push(text(argument));
        }
    }
    shown
}

/// `--password` and the like: its value comes next.
fn is_secret_option(word: &str) -> bool {
    word.starts_with('-') && !word.contains(['=', ' ']) && is_secret_name(word)
}

/// `X-Api-Key:` and the like: its value comes next.
fn is_secret_header(word: &str) -> bool {
    word.strip_suffix(':').is_some_and(|name| !name.contains(['/', ':']) && is_secret_name(name))
}

/// `text` with every word that looks like a secret hidden: user information in URLs, `name=value`, `--name value` and
/// `name: value` under a secret name, what follows `Bearer`, JSON web tokens, keys with a well-known prefix, PEM private
/// keys, long random strings.
pub fn text(text: &str) -> String {
    if text.contains("PRIVATE KEY-----") {
        return HIDDEN.to_owned();
    }
    let mut shown = String::with_capacity(text.len());
    let is_separator = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | ';' | '`' | '(' | ')');
    let mut hide_next = false;
    for piece in text.split_inclusive(is_separator) {
        let word = piece.trim_end_matches(is_separator);
        if word.is_empty() {
            shown.push_str(piece);
            continue;
        }
        let is_value = std::mem::take(&mut hide_next) && !word.starts_with('-');
        // `Authorization: Basic x`: the scheme may be seen, what follows it not
        let is_scheme = word.eq_ignore_ascii_case("bearer") || is_value && word.eq_ignore_ascii_case("basic");
        shown.push_str(&if is_value && !is_scheme { HIDDEN.to_owned() } else { redact_word(word) });
        shown.push_str(&piece[word.len()..]);
        hide_next = is_scheme || is_secret_option(word) || is_secret_header(word);
    }
    shown
}

fn redact_word(word: &str) -> String {
    if let Some((scheme, rest)) = word.split_once("://") {
        let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        if let Some(at) = rest[..authority_end].rfind('@') {
            let tail = redact_word_pairs(&rest[at..]);
            return match rest[..at].split_once(':') {
                Some((user, _)) => format!("{scheme}://{user}:{HIDDEN}{tail}"),
                None if looks_secret(&rest[..at]) => format!("{scheme}://{HIDDEN}{tail}"),
                None => format!("{scheme}://{}{tail}", &rest[..at]),
            };
        }
        if let Some(end) = SECRET_PATHS.iter().find_map(|path| Some(rest.find(path)? + path.len())) {
            return format!("{scheme}://{}{HIDDEN}", &rest[..end]);
        }
    }
    redact_word_pairs(word)
}

/// Addresses whose path is the key.
const SECRET_PATHS: [&str; 4] = [
    "hooks.slack.com/services/",
    "discord.com/api/webhooks/",
    "discordapp.com/api/webhooks/",
    "api.telegram.org/bot",
];

/// `a=b&c=d` pair by pair; anything else by its shape.
fn redact_word_pairs(word: &str) -> String {
    // base64 ends in equals signs of its own
    if !word.trim_end_matches('=').contains('=') && looks_secret(word) {
        return HIDDEN.to_owned();
    }
    let Some((name, rest)) = word.split_once('=') else { return word.to_owned() };
    let (value, tail) = match rest.find('&') {
        Some(end) => (&rest[..end], format!("&{}", redact_word_pairs(&rest[end + 1..]))),
        None => (rest, String::new()),
    };
    let last_name = name.rsplit(['?', '/']).next().unwrap_or(name);
    if !value.is_empty() && is_secret_name(last_name) || looks_secret(value) {
        format!("{name}={HIDDEN}{tail}")
    } else {
        format!("{name}={value}{tail}")
    }
}

const PREFIXES: [&str; 14] = [
    "sk-",
    "sk_live_",
    "pk_live_",
    "ghp_",
    "gho_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "AKIA",
    "AIza",
    "tskey-",
    "tok_",
];

fn looks_secret(word: &str) -> bool {
    let is_token_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '/' | '=');
    if word.len() < 16 || !word.chars().all(is_token_char) {
        return false;
    }
    let is_jwt = word.starts_with("eyJ") && word.matches('.').count() == 2;
    is_jwt || PREFIXES.iter().any(|prefix| word.starts_with(prefix)) || looks_random(word)
}

/// Long, mixed and unlike words. Hexadecimal alone is not enough: image digests and ids are no secrets.
fn looks_random(word: &str) -> bool {
    // a path may hold all that base64 holds, but for its end
    let is_path_like = word.contains('/') && !word.ends_with('=');
    if word.len() < 32
        || word.contains(['.', '-'])
        || is_path_like
        || word.chars().all(|c| c.is_ascii_hexdigit())
    {
        return false;
    }
    let count = |test: fn(&char) -> bool| word.chars().filter(test).count();
    let (upper, lower, digit) =
        (count(char::is_ascii_uppercase), count(char::is_ascii_lowercase), count(char::is_ascii_digit));
    upper >= 4 && lower >= 4 && digit >= 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_by_name() {
        assert_eq!(value("DB_PASSWORD", "hunter2"), HIDDEN);
        assert_eq!(value("traefik.http.middlewares.a.basicauth.users", "u:h"), HIDDEN);
        assert_eq!(value("org.opencontainers.image.authors", "me"), "me");
        assert_eq!(value("com.docker.compose.project", "shop"), "shop");
        for name in ["Authorization", "AUTHOR_TOKEN", "APP_KEY", "dbPass", "requirepass"] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in ["authority", "keyboard", "compass", "traefik.http.routers.web.rule"] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn secrets_are_hidden_by_shape() {
        assert_eq!(
            text("postgres://shop:s3cr3t@db:5432/shop"),
            format!("postgres://shop:{HIDDEN}@db:5432/shop")
        );
        assert_eq!(text("https://x/y?token=abc&a=b"), format!("https://x/y?token={HIDDEN}&a=b"));
        assert_eq!(text("use ghp_0123456789abcdefghij now"), format!("use {HIDDEN} now"));
        let digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        assert_eq!(text(digest), digest);
        let wireguard = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";
        assert_eq!(text(&format!("key {wireguard}")), format!("key {HIDDEN}"));
        assert_eq!(
            text("https://ghp_0123456789abcdefghij@github.com/a"),
            format!("https://{HIDDEN}@github.com/a")
        );
        assert_eq!(text("ssh://git@github.com/a"), "ssh://git@github.com/a");
        assert_eq!(
            text("https://hooks.slack.com/services/T0/B0/abc"),
            format!("https://hooks.slack.com/services/{HIDDEN}")
        );
        assert_eq!(text("said Bearer abc.def, then"), format!("said Bearer {HIDDEN}, then"));
        let plain = "nginx:1.25@sha256:abc /usr/share/a=b --port 80 10.0.0.2:443->443/tcp";
        assert_eq!(text(plain), plain);
    }

    #[test]
    fn secrets_are_hidden_in_headers_within_a_text() {
        let sent = "curl -H 'Authorization: Basic dXNlcjpwYXNz' -H \"X-Api-Key: abc\" http://nas/status";
        let shown =
            format!("curl -H 'Authorization: Basic {HIDDEN}' -H \"X-Api-Key: {HIDDEN}\" http://nas/status");
        assert_eq!(text(sent), shown);
        assert_eq!(text("note: basic things"), "note: basic things");
    }

    #[test]
    fn secrets_are_hidden_in_command_lines() {
        let shown = command(["app", "--password", "x", "--token=y", "-e", "API_KEY=z", "--port", "80"]);
        assert_eq!(
            shown,
            [
                "app",
                "--password",
                HIDDEN,
                &format!("--token={HIDDEN}"),
                "-e",
                &format!("API_KEY={HIDDEN}"),
                "--port",
                "80"
            ]
        );
        let shell = command(["sh", "-c", "mysql --user root --password hunter2 && curl -k https://x"]);
        assert_eq!(shell[2], format!("mysql --user root --password {HIDDEN} && curl -k https://x"));
        let header = command(["curl", "-H", "Authorization: Bearer abc", "-H", "Accept: text/html"]);
        assert_eq!(header[2], format!("Authorization: {HIDDEN}"));
        assert_eq!(header[4], "Accept: text/html");
    }
}
