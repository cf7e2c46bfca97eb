#!/bin/sh
# Makes the certificates of the tests, valid for a hundred years. They protect nothing: the keys are public.
#   ca       signs server and client          server   localhost, 127.0.0.1, ::1
#   other-ca signs nothing that is used       client   CN=app
set -eu
cd "$(dirname "$0")"
days=36500
key() { openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out "$1.key"; }
for ca in ca other-ca; do
  key "$ca"
  openssl req -x509 -new -key "$ca.key" -days $days -subj "/CN=pgswitchyard test $ca" -out "$ca.crt" \
    -addext basicConstraints=critical,CA:true -addext keyUsage=critical,keyCertSign,cRLSign
done
sign() { # name, subject, extensions
  key "$1"
  openssl req -new -key "$1.key" -subj "$2" -out "$1.csr"
  printf '%s\n' "$3" >"$1.ext"
  openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days $days -sha256 -extfile "$1.ext" -out "$1.crt"
  rm "$1.csr" "$1.ext"
}
sign server /CN=localhost 'subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1'
sign client /CN=app 'extendedKeyUsage=clientAuth'
rm -f ./*.srl
