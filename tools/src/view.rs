//! Formats manifests, trust roots and DHT records as text and as JSON. Text from files and peers is made safe to print.

use phase_cli::{self as cli, Bytes, counted, printable};
use phase_core::dht::Pointer;
use phase_core::manifest::{ArtifactEntry, Manifest};
use phase_core::time::TrustedTime;
use phase_core::trust::TrustRoot;
use phase_core::{Authority, Contact, SignedRecord};
use serde_json::{Value, json};

/// Text output lists at most this many artifacts. JSON output lists all of them.
pub(crate) const MAX_LISTED: usize = 40;

/// The maximum width of the column with file names, in characters.
const MAX_NAME_WIDTH: usize = 40;

/// Formats a time, given in seconds since 1970, as date and time.
fn date(unix: u64) -> String {
    TrustedTime(unix).to_string()
}

pub(crate) fn manifest_json(manifest: &Manifest) -> Value {
    json!({
        "type": "manifest",
        "name": manifest.name().to_string(),
        "channel": manifest.channel.as_str(),
        "arch": manifest.arch.as_str(),
        "board": manifest.board,
        "version": manifest.version,
        "release": manifest.release,
        "issued_at": manifest.issued_at,
        "expires_at": manifest.expires_at,
        "cmdline": manifest.cmdline,
        "artifacts": entries_json(&manifest.artifacts),
    })
}

pub(crate) fn entries_json(entries: &[ArtifactEntry]) -> Vec<Value> {
    entries.iter().map(cli::json_entry).collect()
}

pub(crate) fn manifest_text(manifest: &Manifest) -> String {
    let version = manifest.version.to_string();
    let label =
        if manifest.release == version { String::new() } else { format!(" ({})", printable(&manifest.release)) };
    let mut lines = vec![
        format!("name       {}", manifest.name()),
        format!("version    {version}{label}"),
        format!("issued     {}", date(manifest.issued_at)),
        format!("expires    {}", date(manifest.expires_at)),
    ];
    lines.extend(manifest.board.as_ref().map(|board| format!("board      {}", printable(board))));
    lines.extend(manifest.cmdline.as_ref().map(|cmdline| format!("cmdline    {}", printable(cmdline))));
    lines.push(entries_text(&manifest.artifacts));
    lines.join("\n")
}

/// Returns one line for each artifact: role, file name, size, CID.
pub(crate) fn entries_text(entries: &[ArtifactEntry]) -> String {
    let (shown, rest) = entries.split_at(entries.len().min(MAX_LISTED));
    let names: Vec<String> = shown.iter().map(|entry| printable(entry.filename.as_str())).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or_default().min(MAX_NAME_WIDTH);
    let line = |(entry, name): (&ArtifactEntry, &String)| {
        format!("{:<10} {name:<width$}  {:>10}  {}", entry.role.as_str(), Bytes(entry.size), entry.cid)
    };
    let mut lines: Vec<_> = shown.iter().zip(&names).map(line).collect();
    if !rest.is_empty() {
        let size = Bytes(rest.iter().map(|entry| entry.size).sum());
        let more = counted(rest.len(), "more artifact", "more artifacts");
        lines.push(format!("…          {more}, {size}; --json lists all"));
    }
    lines.join("\n")
}

pub(crate) fn root_json(root: &TrustRoot) -> Value {
    let ids = |keys: &std::collections::BTreeSet<phase_core::KeyId>| -> Vec<String> {
        keys.iter().map(ToString::to_string).collect()
    };
    let channels = root.channels.iter().map(|(label, role)| {
        let role = json!({
            "keys": ids(&role.keys),
            "threshold": role.threshold,
            "pointer_keys": ids(&role.pointer_keys),
        });
        (label.to_string(), role)
    });
    json!({
        "type": "root",
        "version": root.version,
        "issued_at": root.issued_at,
        "expires_at": root.expires_at,
        "root": { "keys": ids(&root.root.keys), "threshold": root.root.threshold },
        "channels": channels.collect::<serde_json::Map<_, _>>(),
    })
}

pub(crate) fn root_text(root: &TrustRoot) -> String {
    let mut lines = vec![
        format!("root       version {}", root.version),
        format!("issued     {}", date(root.issued_at)),
        format!("expires    {}", date(root.expires_at)),
        format!("next root  {} must sign it", of_keys(root.root.threshold, root.root.keys.len())),
    ];
    let list = |keys: &std::collections::BTreeSet<phase_core::KeyId>| {
        keys.iter().map(|id| format!("  {id}")).collect::<Vec<_>>()
    };
    lines.extend(list(&root.root.keys));
    for (channel, role) in &root.channels {
        lines.push(format!("channel    {channel}: {} must sign a manifest", of_keys(role.threshold, role.keys.len())));
        lines.extend(list(&role.keys));
        lines.push(format!("channel    {channel}: {} must sign a pointer record", of_keys(1, role.pointer_keys.len())));
        lines.extend(list(&role.pointer_keys));
    }
    lines.join("\n")
}

/// Formats a threshold: `2 of 3 keys`.
pub(crate) fn of_keys(threshold: u16, keys: usize) -> String {
    format!("{threshold} of {}", counted(keys, "key", "keys"))
}

pub(crate) fn pointer_json(pointer: &Pointer) -> Value {
    json!({
        "type": "pointer",
        "name": pointer.name.to_string(),
        "manifest": pointer.manifest.map(|cid| cid.to_string()),
        "version": pointer.version,
        "issued_at": pointer.issued_at,
        "expires_at": pointer.expires_at,
        "urls": pointer.urls,
    })
}

pub(crate) fn pointer_text(pointer: &Pointer) -> String {
    let mut lines = vec![format!("name       {}", pointer.name)];
    lines.extend(pointer.manifest.map(|cid| format!("manifest   {cid}")));
    lines.extend([
        format!("version    {}", pointer.version),
        format!("issued     {}", date(pointer.issued_at)),
        format!("expires    {}", date(pointer.expires_at)),
    ]);
    lines.extend(pointer.urls.iter().map(|url| format!("url        {}", printable(url))));
    lines.join("\n")
}

pub(crate) fn contact_json(contact: &Contact) -> Value {
    json!({
        "type": "contact",
        "peer": contact.peer.as_str(),
        "addresses": contact.addresses,
        "version": contact.version,
        "issued_at": contact.issued_at,
        "expires_at": contact.expires_at,
    })
}

pub(crate) fn contact_text(contact: &Contact) -> String {
    let mut lines = vec![format!("peer       {}", contact.peer)];
    lines.extend(contact.addresses.iter().map(|address| format!("address    {}", printable(address))));
    lines.push(times(contact.version, contact.issued_at, contact.expires_at));
    lines.join("\n")
}

pub(crate) fn authority_json(authority: &Authority) -> Value {
    json!({
        "type": "authority",
        "key_id": authority.key.id().to_string(),
        "names": authority.names.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "providers": authority.providers,
        "version": authority.version,
        "issued_at": authority.issued_at,
        "expires_at": authority.expires_at,
    })
}

pub(crate) fn authority_text(authority: &Authority) -> String {
    let mut lines = vec![format!("key id     {}", authority.key.id())];
    lines.extend(authority.names.iter().map(|name| format!("name       {name}")));
    lines.extend(authority.providers.iter().map(|address| format!("provider   {}", printable(address))));
    lines.push(times(authority.version, authority.issued_at, authority.expires_at));
    lines.join("\n")
}

pub(crate) fn record_json(record: &SignedRecord) -> Value {
    json!({
        "type": "record",
        "key_id": record.key.id().to_string(),
        "label": record.label.as_str(),
        "text": std::str::from_utf8(&record.value).ok(),
        "hex": hex(&record.value),
        "version": record.version,
        "issued_at": record.issued_at,
        "expires_at": record.expires_at,
    })
}

pub(crate) fn record_text(record: &SignedRecord) -> String {
    let value = match std::str::from_utf8(&record.value) {
        Ok(text) => printable(text),
        Err(_) => format!("{}, in hexadecimal: {}", Bytes(record.value.len() as u64), hex(&record.value)),
    };
    let owner = format!("key id     {}\nlabel      {}", record.key.id(), record.label);
    format!("{owner}\nvalue      {value}\n{}", times(record.version, record.issued_at, record.expires_at))
}

fn times(version: u64, issued_at: u64, expires_at: u64) -> String {
    format!("version    {version}\nissued     {}\nexpires    {}", date(issued_at), date(expires_at))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
