-- List our payments as the demo compares them with the sandbox's books.
SELECT provider_id, order_id, status, amount FROM callboard.payments ORDER BY order_id
