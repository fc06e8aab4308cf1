#!/usr/bin/env bash
# Behaviour: msg_receive() unserializes by default. A message that is not PHP's serialized form gives
#            false and a warning, the message is gone, and the error code is 0.
# Seen:      PHP 8.2.36 (Debian 12, php-cli): 1 message before, 0 after, no data, error code 0. A
#            message that is too long stays in the queue and has error code 7.
# Source:    php-src/ext/sysvmsg/sysvmsg.c, msg_receive(): msgrcv(2) comes before the unserializer.
set -euo pipefail
php --version | head -n 1
seen=$(php -r '
  $queue = msg_get_queue(random_int(1, 0x7fffffff), 0600);
  $count = fn() => msg_stat_queue($queue)["msg_qnum"];
  msg_send($queue, 1, "from a program in C", false);
  $told = [$count()];
  $told[] = @msg_receive($queue, 0, $type, 100, $data, true, MSG_IPC_NOWAIT, $error);
  array_push($told, $data, $error, $count());
  msg_send($queue, 1, "from a program in C", false);
  $told[] = @msg_receive($queue, 0, $type, 4, $data, false, MSG_IPC_NOWAIT, $error);
  array_push($told, $data, $error, $count());
  msg_remove_queue($queue);
  echo json_encode($told);')
echo "messages, result, data, error code, messages; then, too long: result, data, error code, messages"
echo "$seen"
[ "$seen" = "[1,false,false,0,0,false,false,7,1]" ]
