-- Leave the messages that lost two workers to whichever worker sees them next.
UPDATE callboard.duties SET worker_id = NULL
WHERE duty_name = 'alone' AND worker_id = %(worker_id)s
RETURNING duty_name
