"""A message in a thread's hands: from the queue between intake and threads to Dramatiq's ack."""
