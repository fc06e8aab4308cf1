#!/usr/bin/env bash
# Behaviour: shm_attach() of a segment that another program made and filled reports no error. It
#            writes a header of its own over the first 40 bytes.
# Seen:      PHP 8.2.36 (Debian 12, php-cli): bytes 0 to 39 are the header "PHP_SM", the rest is as before.
# Source:    php-src/ext/sysvshm/sysvshm.c, shm_attach(): a segment without its magic is formatted.
#            The manual does not say it.
set -euo pipefail
php --version | head -n 1
seen=$(php -r '
  $key = random_int(1, 0x7fffffff);
  $segment = shmop_open($key, "n", 0600, 4096);
  shmop_write($segment, str_repeat("x", 100), 0);
  $attached = shm_attach($key, 4096, 0600) !== false;
  echo json_encode([$attached, shmop_read($segment, 0, 6), shmop_read($segment, 36, 8)]);
  shmop_delete($segment);')
echo "attached, bytes 0 to 5, bytes 36 to 43: $seen"
[ "$seen" = '[true,"PHP_SM","\u0000\u0000\u0000\u0000xxxx"]' ]
