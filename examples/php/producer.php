<?php
// Posts tasks into the queue of the running queue_server.py, from PHP.
//
// php examples/php/producer.php

$key = ftok(dirname(__DIR__) . "/queue_server.py", "q");
if (!msg_queue_exists($key)) {
    fwrite(STDERR, "no queue: is queue_server.py running?\n");
    exit(1);
}
$queue = msg_get_queue($key);
foreach ([0, 1] as $k) {
    // the type is the task worker's number + 1; the server reads PHP's serialized data
    msg_send($queue, $k + 1, ["from" => "PHP", "for" => $k, "sizes" => [1, 2.5, null]]);
}
echo "2 tasks posted\n";
