#!/usr/bin/env bash
# Is what no Python package brings there: Python 3.11 with venv, Java 17 or newer? Says all that is missing, and how to install it.
set -u
python=${1:-python3.11}
missing=()

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
    missing+=("Python 3.11 ($python) is not there. Install it, or name another: make PYTHON=/path/to/python3.11
    Debian 12:  apt-get install python3.11 python3.11-venv
    Ubuntu:     add-apt-repository ppa:deadsnakes/ppa && apt-get install python3.11 python3.11-venv
    macOS:      brew install python@3.11")
elif ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    missing+=("$python cannot make virtual environments.
    Debian and Ubuntu:  apt-get install python3.11-venv")
fi

java=${JAVA_HOME:+$JAVA_HOME/bin/}java
java_help="    Debian and Ubuntu:  apt-get install openjdk-17-jre-headless
    macOS:              brew install openjdk@17
    Elsewhere: set JAVA_HOME to its folder."
if ! banner=$("$java" -version 2>&1); then
    missing+=("Java 17 or newer ($java) is not there; Spark runs on it.
$java_help")
else
    major=$(sed -nE 's/.*version "(1\.)?([0-9]+).*/\2/p' <<<"$banner" | head -n 1)
    if [ "${major:-0}" -lt 17 ]; then
        missing+=("Java ${major:-of unknown version} ($java) is too old: Spark needs 17 or newer.
$java_help")
    fi
fi

if [ ${#missing[@]} -gt 0 ]; then
    printf 'Sluice cannot be set up yet:\n' >&2
    printf -- '- %s\n' "${missing[@]}" >&2
    exit 1
fi
