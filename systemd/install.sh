#!/bin/sh
# Installs, upgrades or rolls back tickerd as a systemd service. Run it again as often as you like.
#
#   install.sh --wheel dist/tickerd-1.2.3-py3-none-any.whl [--lock requirements.lock] [--python python3.11]
#              [--wheelhouse DIR]     take all packages from this directory, none from the network; also
#                                     without being told to, where there is one named wheelhouse beside systemd/
#              [--no-start]           install only; neither enable nor start (for images)
#   install.sh --rollback             go back to the version that ran before
#   install.sh --uninstall            stop and remove it; settings and state stay
#
# Each version has a virtual environment of its own under /opt/tickerd/releases; /opt/tickerd/current points to
# the one in use and /opt/tickerd/previous to the one before.
set -eu
umask 022 # what the service has to read, whatever root's own is

here=$(cd "$(dirname "$0")" && pwd)
root=/opt/tickerd
units=/etc/systemd/system
wheel="" lock="" python=python3 wheelhouse="" start=yes action=install changed=no

fail() { echo "install.sh: $*" >&2; exit 1; }

while [ $# -gt 0 ]; do
  case $1 in
    --wheel) wheel=${2:?--wheel FILE}; shift ;;
    --lock) lock=${2:?--lock FILE}; shift ;;
    --python) python=${2:?--python PROGRAM}; shift ;;
    --wheelhouse) wheelhouse=${2:?--wheelhouse DIR}; shift ;;
    --no-start) start=no ;;
    --rollback) action=rollback ;;
    --uninstall) action=uninstall ;;
    *.whl) fail "--wheel takes one file, and is given $wheel and $1; remove the older one" ;;
    *) sed -n '2,/^set -eu/p' "$0" | sed 's/^# \{0,1\}//; /^set -eu/d'; exit 2 ;;
  esac
  shift
done
[ "$(id -u)" = 0 ] || fail "it has to run as root"

put() { cmp -s "$1" "$2" || { install -m 644 "$1" "$2"; changed=yes; }; }  # a file, when it is another one
point() { ln -sfn "$1" "$2.new" && mv -T "$2.new" "$2"; }  # a symlink, replaced at once

restart() {
  [ "$start" = yes ] || return 0
  if [ "$changed" = no ] && systemctl is-active --quiet tickerd.service && systemctl is-active --quiet tickerd.socket; then
    echo "nothing has changed: it goes on running"
    return 0
  fi
  systemctl daemon-reload
  systemctl enable --quiet tickerd.service tickerd.socket
  # The daemon first: its socket can only be started while the service is not running.
  systemctl is-active --quiet tickerd.socket || { systemctl stop tickerd.service; systemctl start tickerd.socket; }
  systemctl restart tickerd.service || {
    journalctl --sync || true
    systemctl status --no-pager --full --lines=20 tickerd.service >&2 || true
    fail "the service does not start; its log stands above (journalctl -u tickerd), --rollback goes back"
  }
}

case $action in
  rollback)
    [ -e $root/previous ] || fail "there is no version before this one"
    before=$(readlink $root/previous)
    point "$(readlink $root/current)" $root/previous
    point "$before" $root/current
    changed=yes
    restart
    echo "tickerd $(basename "$before") is in use"
    exit 0 ;;
  uninstall)
    systemctl disable --now --quiet tickerd.service tickerd.socket 2>/dev/null || true
    rm -rf $root $units/tickerd.service $units/tickerd.socket
    rm -f /usr/lib/sysusers.d/tickerd.conf /usr/lib/tmpfiles.d/tickerd.conf
    systemctl daemon-reload
    echo "removed; /etc/tickerd, /var/lib/tickerd and the user tickerd stay"
    exit 0 ;;
esac

[ -f "$wheel" ] || fail "--wheel: no such file; make wheel builds one"
version=$(basename "$wheel" | cut -d- -f2)
lock=${lock:-$here/../requirements.lock}
[ -f "$lock" ] || fail "--lock: no such file: $lock"
[ -n "$wheelhouse" ] || [ ! -d "$here/../wheelhouse" ] || wheelhouse=$here/../wheelhouse
interpreter=$("$python" -c 'import os, sys; print(os.path.realpath(sys.executable)); sys.exit(sys.version_info < (3, 11))') \
  || fail "--python: $python is not Python 3.11 or newer"
case $interpreter in
  /root/* | /home/* | /tmp/*) fail "--python: $interpreter lies where the service cannot see it; use the system's" ;;
esac

# 1. This version's environment, made beside its place so that a half-made one is never used.
release=$root/releases/$version-$(cat "$wheel" "$lock" | sha256sum | cut -c1-8)
if [ ! -x "$release/bin/tickerd" ]; then
  rm -rf "$release"
  mkdir -p $root/releases
  trap 'rm -rf "$release"' EXIT
  "$interpreter" -m venv "$release" || fail "$interpreter cannot make virtual environments (package python3-venv?)"
  from=${wheelhouse:+--no-index --find-links $wheelhouse}
  # shellcheck disable=SC2086 # two words, or none
  "$release/bin/pip" install --quiet --disable-pip-version-check $from --require-hashes --requirement "$lock"
  "$release/bin/pip" install --quiet --disable-pip-version-check --no-index --no-deps "$wheel"
  "$release/bin/tickerd" --version >/dev/null
  trap - EXIT
fi

# 2. The user and directories; settings that are there already stay as they are.
install -m 644 "$here/tickerd.sysusers.conf" /usr/lib/sysusers.d/tickerd.conf
install -m 644 "$here/tickerd.tmpfiles.conf" /usr/lib/tmpfiles.d/tickerd.conf
systemd-sysusers tickerd.conf
systemd-tmpfiles --create tickerd.conf
[ -e /etc/tickerd/tickerd.toml ] || install -m 640 -g tickerd "$here/tickerd.toml" /etc/tickerd/tickerd.toml

# 3. The settings are right for this version, as the service will read them, or nothing changes for the one that runs.
as_service=""
[ ! -d /run/systemd/system ] || as_service="systemd-run --quiet --wait --pipe --collect --property=User=tickerd
  --property=EnvironmentFile=-/etc/tickerd/tickerd.env"
# shellcheck disable=SC2086 # many words, or none
$as_service "$release/bin/tickerd" check --config /etc/tickerd/tickerd.toml --set state.directory=/var/lib/tickerd >/dev/null \
  || fail "the settings in /etc/tickerd do not suit this version; nothing was changed"

# 4. Into use.
put "$here/tickerd.service" $units/tickerd.service
put "$here/tickerd.socket" $units/tickerd.socket
put "$here/ec2/tickerd-metrics.service" $root/tickerd-metrics.service
install -m 644 "$here/README.md" $root/README.md
mkdir -p $units/tickerd.service.d
if [ "$(systemctl --version | sed -n '1s/systemd \([0-9]*\).*/\1/p')" -ge 253 ]; then
  put "$here/dropins/10-notify-reload.conf" $units/tickerd.service.d/10-notify-reload.conf
fi
if [ "$(readlink $root/current 2>/dev/null)" != "$release" ]; then
  changed=yes
  [ ! -e $root/current ] || point "$(readlink $root/current)" $root/previous
  point "$release" $root/current
fi
for old in "$root"/releases/*; do  # two are kept
  case $old in "$(readlink $root/current)" | "$(readlink $root/previous 2>/dev/null)") ;; *) rm -rf "$old" ;; esac
done
restart
echo "tickerd $version is installed in $release"
