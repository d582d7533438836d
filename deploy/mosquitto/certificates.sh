#!/usr/bin/env bash
# Makes the certificates of a street's broker with nothing but openssl.
#
#   certificates.sh FOLDER authority                 once: who vouches for everybody (keep ca.key offline)
#   certificates.sh FOLDER server NAME [NAME …]      the broker, under the names or addresses it is reached by
#   certificates.sh FOLDER client controller         the controller
#   certificates.sh FOLDER client C001               a household: the name is its metering point
#
# Nothing is ever overwritten. Keys are readable by their owner only.
set -euo pipefail
umask 077
usage() { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
[ $# -ge 2 ] || usage
folder=$1 what=$2
shift 2
mkdir -p "$folder"

# new_key FILE
new_key() {
  [ ! -e "$1" ] || { echo "$1 is there already: nothing was overwritten" >&2; exit 1; }
  openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1" 2>/dev/null ||
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1" 2>/dev/null
}

# sign NAME DAYS EXTENSIONS: a certificate for NAME.key
sign() {
  [ -e "$folder/ca.key" ] || { echo "there is no $folder/ca.key: make the authority first" >&2; exit 1; }
  openssl req -new -key "$folder/$1.key" -subj "/CN=$1" |
    openssl x509 -req -CA "$folder/ca.crt" -CAkey "$folder/ca.key" -CAcreateserial -days "$2" -sha256 \
      -extfile <(printf '%s\n' basicConstraints=critical,CA:FALSE keyUsage=critical,digitalSignature \
        subjectKeyIdentifier=hash authorityKeyIdentifier=keyid "$3") -out "$folder/$1.crt" 2>/dev/null
  chmod 644 "$folder/$1.crt"
  echo "$folder/$1.crt and $folder/$1.key"
}

case $what in
authority)
  new_key "$folder/ca.key"
  openssl req -x509 -key "$folder/ca.key" -subj "/CN=Streetwatt broker authority" -days 7300 -sha256 \
    -addext basicConstraints=critical,CA:TRUE,pathlen:0 -addext keyUsage=critical,keyCertSign,cRLSign \
    -out "$folder/ca.crt"
  chmod 644 "$folder/ca.crt"
  echo "$folder/ca.crt and $folder/ca.key"
  ;;
server)
  [ $# -ge 1 ] || usage
  names=
  for name in "$@"; do
    if [[ $name =~ ^[0-9.]+$ || $name == *:* ]]; then names+=",IP:$name"; else names+=",DNS:$name"; fi
  done
  new_key "$folder/server.key"
  sign server 825 "$(printf 'extendedKeyUsage=serverAuth\nsubjectAltName=%s' "${names#,}")"
  ;;
client)
  [ $# -eq 1 ] || usage
  [[ $1 =~ ^[A-Za-z0-9._-]{1,48}$ ]] || { echo "$1 is no metering point" >&2; exit 2; }
  new_key "$folder/$1.key"
  sign "$1" 1095 extendedKeyUsage=clientAuth
  ;;
*) usage ;;
esac
