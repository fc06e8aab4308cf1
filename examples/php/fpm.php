<?php
// A page that posts tasks into the queue of the running queue_server.py, under php-fpm.
//
// nginx: location = /tasks { include fastcgi_params; fastcgi_pass unix:/run/php/php-fpm.sock;
//                            fastcgi_param SCRIPT_FILENAME /srv/app/php/fpm.php; }
// curl -d '{"resize": "photo.jpg"}' http://127.0.0.1/tasks                -> {"posted": true}
//
// The pool runs as the server's user, or the server has message_queue_mode=0o660 and its group.
// The page never waits: with a full queue it answers 503. After an answer of 202 the message is in
// the queue. No crash of the page or of the server loses it: the next start runs it.

const ANY_TASK_WORKER = 0x7FFFFFFF; // the type for any idle task worker; task worker k takes type k + 1
const EINVAL = 22;                  // the error of msgsnd() for a message over kernel.msgmax

function answer(int $status, array $data): never
{
    http_response_code($status);
    header("Content-Type: application/json");
    echo json_encode($data), "\n";
    exit;
}

$data = json_decode(file_get_contents("php://input"), true);
if ($_SERVER["REQUEST_METHOD"] !== "POST" || $data === null) {
    answer(400, ["error" => "POST the task's data as JSON"]);
}
$key = ftok(dirname(__DIR__) . "/queue_server.py", "q");
if (!msg_queue_exists($key)) {
    answer(503, ["error" => "no queue: is queue_server.py running?"]);
}
$queue = msg_get_queue($key);
if (@msg_send($queue, ANY_TASK_WORKER, $data, true, false, $errno)) {
    answer(202, ["posted" => true]);
}
if ($errno === MSG_EAGAIN) {
    $waiting = msg_stat_queue($queue)["msg_qnum"];
    answer(503, ["error" => "the queue is full: $waiting tasks wait; try again later"]);
}
if ($errno === EINVAL) {
    $limit = trim(file_get_contents("/proc/sys/kernel/msgmax"));
    $size = strlen(serialize($data));
    answer(413, ["error" => "$size bytes; a message has at most $limit: pass a file's name instead"]);
}
answer(500, ["error" => "msg_send: " . posix_strerror($errno)]);
