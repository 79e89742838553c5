"""One side of a transfer with libtorrent. It is a separate program, because not every Python has the module libtorrent.

torrent_peer.py make FILE TORRENT       writes the torrent file of FILE, with 1 MiB pieces and SHA-1
torrent_peer.py seed TORRENT DIR        serves the file in DIR; prints "listening PORT"
torrent_peer.py leech TORRENT DIR PORT  fetches into DIR from that port and exits when the file is on disk
"""

import os
import sys

import libtorrent as lt

HOST = "127.0.0.1"
PIECE = 1 << 20
# The timeout for the next alert of libtorrent, in milliseconds.
ALERT_TIMEOUT = 60_000


def make(path, torrent):
    storage = lt.file_storage()
    lt.add_files(storage, path)
    # Makes a torrent of version 1, with SHA-1 only. The default would also hash the file with SHA-256.
    flags = lt.create_torrent.v1_only if hasattr(lt.create_torrent, "v1_only") else 0
    made = lt.create_torrent(storage, PIECE, flags)
    lt.set_piece_hashes(made, os.path.dirname(path))
    with open(torrent, "wb") as file:
        file.write(lt.bencode(made.generate()))


def session():
    """Starts a session that uses TCP without encryption and does not search for peers."""
    of = lt.alert.category_t
    alerts = of.status_notification | of.error_notification | of.storage_notification
    return lt.session(
        {
            "listen_interfaces": f"{HOST}:0",
            # The length of a tick in milliseconds. It is short, because the session dials once per tick. The default is
            # 500.
            "tick_interval": 100,
            "enable_dht": False,
            "enable_lsd": False,
            "enable_upnp": False,
            "enable_natpmp": False,
            "enable_incoming_utp": False,
            "enable_outgoing_utp": False,
            "in_enc_policy": int(lt.enc_policy.pe_disabled),
            "out_enc_policy": int(lt.enc_policy.pe_disabled),
            "allow_multiple_connections_per_ip": True,
            "alert_mask": alerts,
        }
    )


def add(running, torrent, folder, is_seed):
    parameters = lt.add_torrent_params()
    parameters.ti = lt.torrent_info(torrent)
    parameters.save_path = folder
    parameters.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
    if is_seed:
        parameters.flags |= lt.torrent_flags.seed_mode
    return running.add_torrent(parameters)


def wait_for(running, kind):
    """Waits for an alert of this kind. Exits the program on an error alert."""
    while running.wait_for_alert(ALERT_TIMEOUT):
        for alert in running.pop_alerts():
            if isinstance(alert, kind):
                return alert
            if isinstance(alert, (lt.torrent_error_alert, lt.file_error_alert, lt.listen_failed_alert)):
                sys.exit(alert.message())
    sys.exit(f"no {kind.__name__} for {ALERT_TIMEOUT // 1000} s")


def seed(torrent, folder):
    running = session()
    handle = add(running, torrent, folder, True)
    wait_for(running, lt.listen_succeeded_alert)
    while not handle.status().is_seeding:
        wait_for(running, lt.state_changed_alert)
    print("listening", running.listen_port(), flush=True)
    while True:
        running.wait_for_alert(ALERT_TIMEOUT)
        running.pop_alerts()


def leech(torrent, folder, port):
    running = session()
    handle = add(running, torrent, folder, False)
    # Waits until the torrent is checked, because a peer that is added earlier is dialled up to a second later.
    wait_for(running, lt.torrent_checked_alert)
    handle.connect_peer((HOST, int(port)))
    wait_for(running, lt.torrent_finished_alert)
    handle.flush_cache()
    wait_for(running, lt.cache_flushed_alert)
    # Exits without closing the session, because closing waits for work that does not matter here.
    os._exit(0)


if __name__ == "__main__":
    {"make": make, "seed": seed, "leech": leech}[sys.argv[1]](*sys.argv[2:])
