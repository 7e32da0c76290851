//! What people configure and what machines said last: devices, sources, host keys, latest readings.

use std::collections::BTreeMap;

use domain::device::{Declared, Device, DeviceId, Reach, Source, SourceId};
use domain::ports::{ApprovedHostKey, StoredReading};
use domain::{Error, Result, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction};
use uuid::Uuid;

use super::failure::failed;

/// All devices, by name.
pub(super) fn devices(connection: &Connection) -> Result<Vec<Device>> {
    let mut sources = sources(connection)?;
    let mut select = connection
        .prepare_cached(
            "SELECT id, name, tags, location, description, monitored, declared FROM device ORDER BY name",
        )
        .map_err(failed)?;
    let mut rows = select.query([]).map_err(failed)?;
    let mut devices = Vec::new();
    while let Some(row) = rows.next().map_err(failed)? {
        let read = DeviceRow::read(row).map_err(failed)?;
        let id = DeviceId(Uuid::from_bytes(read.id));
        let declared = read.declared.map(|text| parse::<Declared>(&text)).transpose()?;
        devices.push(Device {
            id,
            tags: parse(&read.tags)?,
            name: read.name,
            location: read.location,
            description: read.description,
            monitored: read.monitored,
            sources: sources.remove(&id).unwrap_or_default(),
            declared,
        });
    }
    Ok(devices)
}

/// Writes devices as given, in place of what was known of them.
pub(super) fn save_devices(transaction: &Transaction<'_>, devices: &[Device]) -> Result<()> {
    let mut gone: Vec<SourceId> = Vec::new();
    for device in devices {
        gone.extend(sources_of(transaction, device.id)?);
        // first all go, so that names and sources may change places
        transaction
            .execute("DELETE FROM device WHERE id = ?1", [device.id.0.into_bytes()])
            .map_err(failed)?;
    }
    for device in devices {
        insert_device(transaction, device)?;
        for (position, source) in (0_i64..).zip(&device.sources) {
            let reach = serde_json::to_string(&source.reach).map_err(unwritable)?;
            let insert = "INSERT INTO source (id, device, position, reach) VALUES (?1, ?2, ?3, ?4) \
                ON CONFLICT (id) DO UPDATE SET device = ?2, position = ?3, reach = ?4";
            transaction
                .execute(insert, (source.id.0, device.id.0.into_bytes(), position, reach))
                .map_err(failed)?;
            raise_source_counter(transaction, source.id)?;
        }
    }
    for source in gone {
        let delete = "DELETE FROM latest WHERE source = ?1 AND source NOT IN (SELECT id FROM source)";
        transaction.execute(delete, [source.0]).map_err(failed)?;
    }
    Ok(())
}

/// Removes a device and its sources' latest readings.
pub(super) fn remove_device(transaction: &Transaction<'_>, id: DeviceId) -> Result<()> {
    for source in sources_of(transaction, id)? {
        transaction.execute("DELETE FROM latest WHERE source = ?1", [source.0]).map_err(failed)?;
    }
    transaction.execute("DELETE FROM device WHERE id = ?1", [id.0.into_bytes()]).map_err(failed)?;
    Ok(())
}

/// A source id that was never given out.
pub(super) fn next_source_id(transaction: &Transaction<'_>) -> Result<SourceId> {
    let update = "UPDATE counter SET value = value + 1 WHERE name = 'source' RETURNING value";
    transaction.query_row(update, [], |row| row.get(0)).map(SourceId).map_err(failed)
}

/// Host keys that were approved.
pub(super) fn host_keys(connection: &Connection) -> Result<Vec<ApprovedHostKey>> {
    let mut select = connection
        .prepare_cached(
            "SELECT host, algorithm, public_key, approved_at, approved_by FROM host_key ORDER BY host, algorithm",
        )
        .map_err(failed)?;
    let read = |row: &Row<'_>| {
        Ok(ApprovedHostKey {
            host: row.get(0)?,
            algorithm: row.get(1)?,
            public_key: row.get(2)?,
            approved_at: Timestamp::from_millis(row.get(3)?),
            approved_by: row.get(4)?,
        })
    };
    select.query_map([], read).and_then(Iterator::collect).map_err(failed)
}

/// Approves a host key.
pub(super) fn approve_host_key(transaction: &Transaction<'_>, key: &ApprovedHostKey) -> Result<()> {
    let insert = "INSERT OR REPLACE INTO host_key (host, algorithm, public_key, approved_at, approved_by) \
        VALUES (?1, ?2, ?3, ?4, ?5)";
    let ApprovedHostKey { host, algorithm, public_key, approved_at, approved_by } = key;
    transaction
        .execute(insert, (host, algorithm, public_key, approved_at.millis(), approved_by))
        .map(drop)
        .map_err(failed)
}

/// Latest readings as they were kept.
pub(super) fn latest(connection: &Connection) -> Result<Vec<StoredReading>> {
    let mut select = connection
        .prepare_cached("SELECT source, collector, as_of, value FROM latest ORDER BY source, collector")
        .map_err(failed)?;
    let read = |row: &Row<'_>| {
        Ok(StoredReading {
            source: SourceId(row.get(0)?),
            collector: row.get(1)?,
            as_of: Timestamp::from_millis(row.get(2)?),
            value: row.get(3)?,
        })
    };
    select.query_map([], read).and_then(Iterator::collect).map_err(failed)
}

/// Keeps latest readings in place of older ones. Of a value that is the same only the time is written.
pub(super) fn keep_latest(transaction: &Transaction<'_>, readings: &[StoredReading]) -> Result<()> {
    let mut upsert = transaction
        .prepare_cached(
            "INSERT INTO latest (source, collector, as_of, value) VALUES (?1, ?2, ?3, ?4) \
            ON CONFLICT (source, collector) DO UPDATE SET as_of = ?3, value = ?4 WHERE value <> ?4 OR as_of <> ?3",
        )
        .map_err(failed)?;
    for StoredReading { source, collector, as_of, value } in readings {
        upsert.execute((source.0, collector, as_of.millis(), value)).map_err(failed)?;
    }
    Ok(())
}

struct DeviceRow {
    id: [u8; 16],
    name: String,
    tags: String,
    location: Option<String>,
    description: Option<String>,
    monitored: bool,
    declared: Option<String>,
}

impl DeviceRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            name: row.get(1)?,
            tags: row.get(2)?,
            location: row.get(3)?,
            description: row.get(4)?,
            monitored: row.get(5)?,
            declared: row.get(6)?,
        })
    }
}

fn insert_device(transaction: &Transaction<'_>, device: &Device) -> Result<()> {
    let taken: Option<i64> = transaction
        .query_row("SELECT 1 FROM device WHERE name = ?1", [&device.name], |row| row.get(0))
        .optional()
        .map_err(failed)?;
    if taken.is_some() {
        return Err(Error::conflict(
            "device_name_taken",
            format!("a device is called “{}” already", device.name),
            "choose another name",
        ));
    }
    let tags = serde_json::to_string(&device.tags).map_err(unwritable)?;
    let declared = device.declared.as_ref().map(serde_json::to_string).transpose().map_err(unwritable)?;
    let insert = "INSERT INTO device (id, name, tags, location, description, monitored, declared) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let Device { id, name, location, description, monitored, .. } = device;
    transaction
        .execute(insert, (id.0.into_bytes(), name, tags, location, description, monitored, declared))
        .map(drop)
        .map_err(failed)
}

/// An id that came from elsewhere, such as a restored list, is not given out again.
fn raise_source_counter(transaction: &Transaction<'_>, id: SourceId) -> Result<()> {
    let update = "UPDATE counter SET value = max(value, ?1) WHERE name = 'source'";
    transaction.execute(update, [id.0]).map(drop).map_err(failed)
}

fn sources_of(connection: &Connection, device: DeviceId) -> Result<Vec<SourceId>> {
    let mut select = connection.prepare_cached("SELECT id FROM source WHERE device = ?1").map_err(failed)?;
    let ids = select.query_map([device.0.into_bytes()], |row| row.get(0).map(SourceId));
    ids.and_then(Iterator::collect).map_err(failed)
}

fn sources(connection: &Connection) -> Result<BTreeMap<DeviceId, Vec<Source>>> {
    let mut select = connection
        .prepare_cached("SELECT id, device, reach FROM source ORDER BY device, position")
        .map_err(failed)?;
    let mut rows = select.query([]).map_err(failed)?;
    let mut sources: BTreeMap<DeviceId, Vec<Source>> = BTreeMap::new();
    while let Some(row) = rows.next().map_err(failed)? {
        let read = |row: &Row<'_>| Ok((row.get(0)?, row.get::<_, [u8; 16]>(1)?, row.get::<_, String>(2)?));
        let (id, device, reach) = read(row).map_err(failed)?;
        let source = Source { id: SourceId(id), reach: parse::<Reach>(&reach)? };
        sources.entry(DeviceId(Uuid::from_bytes(device))).or_default().push(source);
    }
    Ok(sources)
}

fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text)
        .map_err(|error| Error::internal("a device in the store cannot be read").caused_by(error))
}

fn unwritable(error: serde_json::Error) -> Error {
    Error::internal("a device cannot be written").caused_by(error)
}
