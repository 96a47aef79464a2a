# Sourced by the scripts beside it, which say in `bin` where that is. `environment run` (or `dev`, with the
# tools of the developers) makes the clone's own virtual environment on first use, or mends it, and puts it on
# PATH. A later start only compares a stamp, without starting Python.
#
#   PYOCO_PYTHON     the Python to use: python3.12, 3.12, or a path   (else python3, else the newest there is)
#   PYOCO_INSTALLER  `pip` to do without uv where it is installed
#
# shellcheck shell=sh disable=SC2154

root=$(cd -- "$bin/.." && pwd -P)
venv=$root/.venv

environment() {
    expected="$(cat "$root/pyproject.toml" "$root/setup.py" | cksum) $root"
    # A subshell, because the set-up clears variables that the command itself may want, PYTHONPATH above all.
    fits "$1" || (set_up "$1") || exit
    unset PYTHONHOME # would make the environment's Python look for its library elsewhere
    export VIRTUAL_ENV="$venv" PATH="$venv/bin:$PATH"
}

say() { printf 'pyoco-server: %s\n' "$*" >&2; }
fail() { say "$@"; exit 1; }

# Is the environment whole, of this clone at this place, and all that is wanted? A clone that was moved is not:
# scripts and editable installs hold absolute paths.
fits() {
    read_stamp && [ "$inputs" = "$expected" ] && [ ! -s "$venv.lock" ] && [ -x "$venv/bin/python" ] || return
    [ "$flavour" = "$1" ] || [ "$flavour" = dev ] || return
    [ "${PYOCO_PYTHON:-$asked}" = "$asked" ]
}

read_stamp() {
    inputs='' flavour='' asked=''
    [ -r "$venv/pyoco-stamp" ] || return
    { read -r inputs; read -r flavour; read -r asked; } <"$venv/pyoco-stamp"
    :
}

set_up() {
    unset PYTHONHOME PYTHONPATH VIRTUAL_ENV # packages found there would count as installed
    unset PIP_TARGET PIP_PREFIX PIP_ROOT UV_PYTHON UV_NO_DEV UV_FROZEN UV_LOCKED UV_NO_EDITABLE
    export PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1
    uv=''
    if [ "${PYOCO_INSTALLER-}" != pip ] && uv --version >/dev/null 2>&1; then uv=uv; fi
    python=$(find_python "${PYOCO_PYTHON-}") || exit
    take_lock
    fits "$1" && exit # another start made it while this one waited
    may_update || rm -rf -- "$venv" || fail "cannot remove $venv, which does not fit any more"
    if [ -e "$venv" ]; then new=no; else new=yes; fi
    if [ "$new $flavour" = 'no dev' ]; then set -- dev; fi # it keeps the developers' tools
    say "Setting up $venv (once) with $("$python" --version) and ${uv:-pip} …"
    echo unfinished >"$venv.lock"
    if ! install_"${uv:-pip}" "$1"; then
        [ "$new" = no ] || rm -rf -- "$venv"
        : >"$venv.lock"
        fail "The set-up failed, for the reason above. Can this machine reach its package index?" \
            "The next start tries again."
    fi
    printf '%s\n' "$expected" "$1" "${PYOCO_PYTHON:-$asked}" >"$venv/pyoco-stamp.new"
    mv -- "$venv/pyoco-stamp.new" "$venv/pyoco-stamp"
    : >"$venv.lock"
    say "Ready."
}

# One set-up at a time. The lock belongs to the open file, not to the process that takes it, so Python can take
# it for this shell (flock(1) is not everywhere), and it is free again however the set-up ends. What is written
# in the file says that a set-up did not end: that environment is not to be trusted.
take_lock() {
    exec 9>>"$venv.lock" || fail "cannot write in $root"
    "$python" -c '
import fcntl, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
try:
    fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("pyoco-server: Waiting for another start that is setting up the environment …", file=sys.stderr)
    fcntl.flock(9, fcntl.LOCK_EX)
' 9>&9 || exit
}

# Can what is there be kept and brought up to date (`uv sync` by hand, a newer pyproject.toml, run to dev)?
may_update() {
    [ ! -s "$venv.lock" ] && base_python "$venv/bin/python" >/dev/null || return
    if read_stamp; then
        case $inputs in *" $root") ;; *) return 1 ;; esac
    fi
    [ "${PYOCO_PYTHON:-$asked}" = "$asked" ] || return
    [ -n "$uv" ] || "$venv/bin/python" -m pip --version >/dev/null 2>&1 # uv makes environments without pip
}

install_uv() {
    # --inexact: leave alone what the user added to the environment by hand.
    set -- "$([ "$1" = dev ] && echo --dev || echo --no-dev)" --inexact --project "$root"
    [ "$new" = yes ] || python=$venv/bin/python
    UV_PROJECT_ENVIRONMENT=$venv uv sync "$@" --python "$python" >&2
}

install_pip() {
    if [ "$new" = yes ]; then
        "$python" -c 'import ensurepip, venv' 2>/dev/null || {
            say "$python has no venv module. On Debian and Ubuntu: apt install python3-venv"
            return 1
        }
        "$python" -m venv "$venv" >&2 || return
    fi
    : >"$venv.log"
    cd -- "$root" || return
    [ "$1" = dev ] || { pip_install -e .; return; }
    pip_install --upgrade 'pip>=25.1' && pip_install -e . --group dev # groups came with pip 25.1
}

# Shows the names of the packages as pip comes to them; all that it says goes to the log.
pip_install() {
    { PYTHONUNBUFFERED=1 "$venv/bin/python" -m pip install --no-input "$@" 2>&1 || echo 'pip failed'; } | {
        status=0
        while IFS= read -r line; do
            [ "$line" = 'pip failed' ] || printf '%s\n' "$line" >>"$venv.log"
            case $line in
                'Collecting '*) line=${line#Collecting }; printf ' %s' "${line%%[!A-Za-z0-9._-]*}" >&2 ;;
                'Processing '*.whl*) line=${line##*/}; printf ' %s' "${line%%-*}" >&2 ;; # from a local folder
                'pip failed') status=1 ;;
            esac
        done
        echo >&2
        [ "$status" = 0 ] || { tail -n 12 -- "$venv.log" >&2; say "All that pip said: $venv.log"; }
        exit "$status"
    }
}

# Print the path of a Python that runs and is new enough: the one asked for, or the best there is.
find_python() {
    if [ -n "$1" ]; then
        for candidate in "$1" "python$1" "$(pyenv_python "${1#python}")" "$(uv_python "${1#python}")"; do
            base_python "$candidate" && return
        done
        fail "PYOCO_PYTHON=$1 names no Python 3.10 or newer that runs here;" \
            "give a command, a version or a path, for example PYOCO_PYTHON=python3.12"
    fi
    for candidate in python3 python3.19 python3.18 python3.17 python3.16 python3.15 python3.14 python3.13 \
        python3.12 python3.11 python3.10 python "$(uv_python '>=3.10')"; do
        base_python "$candidate" && return
    done
    fail "No Python 3.10 or newer found. Install one (Debian, Ubuntu: apt install python3 python3-venv)," \
        "or name one: PYOCO_PYTHON=/path/to/python3"
}

# The interpreter that a command stands for. A pyenv shim may stand for none; one of a virtual environment, this
# clone's own perhaps, stands for the one that made it, which is still there when that is removed.
base_python() {
    [ -n "$1" ] && "$1" -c '
import os, sys
if sys.version_info < (3, 10):
    sys.exit(1)
base = getattr(sys, "_base_executable", None) or sys.executable
print(base if os.path.exists(base) else sys.executable)
' 2>/dev/null
}

pyenv_python() { prefix=$(pyenv prefix "$1" 2>/dev/null) && echo "$prefix/bin/python"; }
uv_python() { uv python find --system --no-project "$1" 2>/dev/null; }
