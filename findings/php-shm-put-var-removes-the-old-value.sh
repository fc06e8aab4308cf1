#!/usr/bin/env bash
# Behaviour: shm_put_var() of a value that does not fit returns false, and the value that the key
#            had is gone: it is removed before the size is checked.
# Seen:      PHP 8.2.36 (Debian 12, php-cli): true, then a warning and false, then no such key.
# Source:    php-src/ext/sysvshm/sysvshm.c, php_put_shm_data(); the manual does not say it.
set -euo pipefail
php --version | head -n 1
seen=$(php -r '
  $memory = shm_attach(random_int(1, 0x7fffffff), 1000, 0600);
  echo json_encode([
    shm_put_var($memory, 1, str_repeat("a", 300)),
    @shm_put_var($memory, 1, str_repeat("b", 5000)),
    shm_has_var($memory, 1),
  ]);
  shm_remove($memory);')
echo "put 300 bytes, put 5000 bytes in 1000, the key is there: $seen"
[ "$seen" = "[true,false,false]" ]
