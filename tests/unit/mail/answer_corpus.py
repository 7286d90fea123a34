"""What mail servers really say, and what it means: phase, fate, rule, and the answer as it comes over the wire.

Collected from the published lists of the providers, from the sources and manuals of the servers, and from what people
paste when they ask for help. Addresses, names and numbers are replaced.
"""

from __future__ import annotations

CORPUS = r"""
# --- limits of ours: they pass ---
RCPT | limit | sending limit | 550 5.4.5 Daily sending quota exceeded.
RCPT | limit | sending limit | 550 5.4.5 Daily user sending limit exceeded. For more information on Gmail sending limits go to https://support.google.com/a/answer/166852 x12 - gsmtp
END | limit | sending limit | 550-5.4.5 Daily user sending limit exceeded. For more information on Gmail\n550-5.4.5 sending limits go to\n550 5.4.5  https://support.google.com/a/answer/166852 - gsmtp
MAIL | limit | sending limit | 550 5.4.5 Daily SMTP relay limit exceeded for customer.
RCPT | limit | sending limit | 450 4.2.1 Peak SMTP relay limit exceeded for customer. This is a temporary error.
END | limit | sending limit | 550 5.7.1 Daily SMTP relay limit exceeded for customer. For more information on SMTP relay sending limits please contact your administrator.
RCPT | limit | sending limit | 452 4.5.3 Your message has too many recipients. For more information regarding Google's sending limits see https://support.google.com
RCPT | limit | sending limit | 421-4.7.28 Gmail has detected an unusual rate of unsolicited mail originating\n421-4.7.28 from your IP address. To protect our users from spam, mail sent from your IP\n421 4.7.28 address has been temporarily blocked. - gsmtp
END | limit | sending limit | 550 5.7.28 Our system has detected an unusual rate of unsolicited mail originating from your IP address.
END | limit | sending limit | 550 5.1.90 Your message can't be sent because you've reached your daily limit for message recipients
END | limit | sending limit | 554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; Failed to process message due to a permanent exception with message The message can't be submitted because the sender's submission quota was exceeded.
RCPT | limit | sending limit | 550 5.7.705 Access denied, tenant has exceeded threshold
END | limit | sending limit | 550 5.7.232 Your message can't be sent because your trial tenant has exceeded its daily limit for sending email to external recipients
RCPT | limit | sending limit | 550 5.7.508 Access denied, [192.0.2.1] has exceeded permitted limits within IPv6 range
MAIL | limit | sending limit | 451 4.7.651 The mail server [192.0.2.1] has been temporarily rate limited due to IP reputation. For e-mail delivery information, see https://postmaster.live.com (S3114)
CONNECT | limit | sending limit | 421 RP-001 (BAY004) Unfortunately, some messages from 192.0.2.1 weren't sent. Please try again. We have limits for how many messages can be sent per hour and per day.
RCPT | limit | sending limit | 450 4.7.3 Organization queue quota exceeded.
RCPT | limit | sending limit | 554 5.7.0 Your message could not be sent. The limit on the number of allowed outgoing messages was exceeded. Try again later.
RCPT | limit | sending limit | 554 5.7.0 Rate limit reached, try again later
END | limit | sending limit | 454 Throttling failure: Maximum sending rate exceeded.
END | limit | sending limit | 454 Throttling failure: Daily message quota exceeded.
CONNECT | limit | sending limit | 421 Too many concurrent SMTP connections
AUTH | limit | sending limit | 451 Authentication failed: Maximum credits exceeded
END | limit | sending limit | 451 You have exceeded your messaging limits
RCPT | limit | sending limit | 452 Too many recipients received this hour (throttled)
RCPT | limit | sending limit | 450 too frequent connects from 192.0.2.1, please try again later.
RCPT | limit | sending limit | 550 Domain shop.test has exceeded the max emails per hour (150/150 (100%)) allowed. Message discarded.
RCPT | limit | sending limit | 550 Domain shop.test has exceeded the max defers and failures per hour (5/5 (100%)) allowed. Message discarded.
RCPT | limit | sending limit | 550 User shop@shop.test has exceeded its 24-hour sending limit. Messages to 250 recipients out of 250 allowed have been sent. Relay quota will reset in 9.5 hours.
AUTH | limit | sending limit | 535 Authentication Failed for user. You have exceeded your relay limit
RCPT | limit | sending limit | 550 Ratelimit exceeded for mailbox shop@shop.test. Try again later.
RCPT | limit | sending limit | 550 5.7.1 Hourly sending limit exceeded
DATA | limit | sending limit | 550 5.7.1 <DATA>: Data command rejected: only 10 messages per day
CONNECT | limit | sending limit | 550 Connection frequency limited
END | limit | sending limit | 550 5.4.6 Unusual sending activity detected. Please try after sometime.
RCPT | limit | sending limit | 450 Requested mail action not taken: mailbox unavailable. Mail send limit exceeded.
RCPT | limit | sending limit | 550 Mail quota exceeded
RCPT | limit | sending limit | 421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume or user complaints - 4.16.55.1; see https://postmaster.yahooinc.com/error-codes
RCPT | limit | sending limit | 450 4.7.1 Error: too much mail from 192.0.2.1; message rate limit exceeded
RCPT | limit | sending limit | 554 5.7.1 <shop@shop.test>: Recipient address rejected: Sending rate exceeded
MAIL | limit | sending limit | 550 5.7.1 you have exceeded your daily sending limits
AUTH | limit | sending limit | 454 4.7.0 Too many login attempts, please try again later.
RCPT | limit | sending limit | 550 5.7.1 rate limit exceeded. please slow down

# --- the mailbox gets too much, is full ---
RCPT | later | mailbox gets too much | 450 4.2.1 The user you are trying to contact is receiving mail too quickly. Please resend your message at a later time.
RCPT | later | mailbox gets too much | 550-5.2.1 The user you are trying to contact is receiving mail at a rate that\n550-5.2.1 prevents additional messages from being delivered. For more information, please\n550 5.2.1 visit https://support.google.com/mail/answer/6592 - gsmtp
RCPT | later | mailbox gets too much | 451 4.5.1 The recipient <ann@x.test> has exceeded their message rate limit. Try again later.
RCPT | later | mailbox gets too much | 550 5.2.122 The recipient has exceeded their limit for the number of messages they can receive per hour
RCPT | later | mailbox gets too much | 450 User is receiving mail too quickly
RCPT | later | mailbox full | 552 5.2.2 mailbox full
RCPT | later | mailbox full | 552-5.2.2 The email account that you tried to reach is over quota. Please direct\n552 5.2.2 the recipient to https://support.google.com/mail/?p=OverQuotaPerm - gsmtp
RCPT | later | mailbox full | 452 4.2.2 The email account that you tried to reach is over quota.
RCPT | later | mailbox full | 554 5.2.2 mailbox full; 554 5.2.2 STOREDRV.Deliver.Exception:QuotaExceededException.MapiExceptionShutoffQuotaExceeded
END | later | mailbox full | 552 5.2.2 <ann@x.test> Quota exceeded (mailbox for user is full)
RCPT | later | mailbox full | 550 Mailbox quota exceeded
RCPT | later | mailbox full | 552 Requested mail action aborted: exceeded storage allocation
RCPT | later | mailbox full | 550 <ann@x.test>: user is over quota
RCPT | later | mailbox full | 422 The recipient's mailbox is over its storage limit
RCPT | later | mailbox full | 550 Message was not accepted -- mailbox is full
RCPT | later | mailbox full | 554 delivery error: dd This user's mailbox is over quota (ann)
RCPT | later | mailbox full | 552 sorry, the recipient's disk quota is exceeded (#5.2.2)
RCPT | later | mailbox full | 552 MAILBOX FULL
RCPT | later | mailbox full | 550 4.2.2 <ann@x.test>: mailbox over quota

# --- greylisting and other laters ---
RCPT | later | greylisting | 450 4.2.0 <ann@x.test>: Recipient address rejected: Greylisted, see http://postgrey.schweikert.ch/help/x.test.html
RCPT | later | greylisting | 451 4.7.1 Greylisting in action, please come back in 00:05:00
RCPT | later | greylisting | 550 5.7.1 Greylisted. Come back in five minutes
RCPT | later | not now, not for you | 451 4.7.1 Please try again later
RCPT | later | any other not now | 451 Temporary failure, please try again later
RCPT | later | any other not now | 450 4.1.1 <ann@x.test>: Recipient address rejected: unverified address: Address verification in progress
RCPT | later | any other not now | 450 4.1.2 <ann@x.test>: Recipient address rejected: Domain not found
RCPT | later | any other not now | 450 5.1.1 <ann@x.test>: Recipient address rejected: User unknown
RCPT | later | any other not now | 550 4.4.1 connection to the next host failed
RCPT | later | any other not now | 451 4.4.0 DNS query failed
END | later | put off in words | 554 5.7.0 Your message could not be sent. Please try again later
END | later | put off in words | 554 5.7.0 message refused for now. try again in an hour.
RCPT | later | put off in words | 550 Temporarily blocked due to repeated bad requests
END | later | put off in words | 550 5.7.350 Remote server returned message temporarily deferred
RCPT | later | put off in words | 550 sorry, we do not accept mail at this time
RCPT | later | put off in words | 554-We cannot take your message\n554 now, please try again\n554 later
RCPT | later | mailbox gets too much | 432 4.3.2 STOREDRV.Deliver; recipient thread limit exceeded

# --- the sender, the domain ---
RCPT | settings | sender not allowed | 553 5.7.1 <shop@shop.test>: Sender address rejected: not owned by user shop
RCPT | settings | sender not allowed | 553 5.7.1 <shop@shop.test>: Sender address rejected: not logged in
RCPT | settings | sender not allowed | 553 5.7.1 Sender address rejected: not owned by auth user
RCPT | settings | sender not allowed | 553-5.7.1 <shop@shop.test>: Sender address rejected:\n553 5.7.1 not owned by user shop
RCPT | settings | sender not allowed | 553 sender address rejected: NOT OWNED BY USER
RCPT | settings | sender not allowed | 550 5.1.0 <shop@shop.test>: Sender address rejected: User unknown in virtual mailbox table
RCPT | settings | sender not allowed | 450 4.1.8 <shop@shop.test>: Sender address rejected: Domain not found
RCPT | settings | sender not allowed | 504 5.5.2 <shop>: Sender address rejected: need fully-qualified address
RCPT | settings | sender not allowed | 554 5.7.1 <shop@shop.test>: Sender address rejected: Access denied
RCPT | settings | sender not allowed | 550-Verification failed for <shop@shop.test>\n550-No Such User Here\n550 Sender verify failed
RCPT | settings | sender not allowed | 553 5.1.8 <shop@shop.test>... Domain of sender address shop@shop.test does not exist
MAIL | settings | sender not allowed | 451 4.1.8 Domain of sender address shop@shop.test does not resolve
RCPT | settings | sender not allowed | 553 sorry, your envelope sender is in my badmailfrom list (#5.7.1)
END | settings | sender not allowed | 550 5.7.60 SMTP; Client does not have permissions to send as this sender
END | settings | sender not allowed | 554 5.2.0 STOREDRV.Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied; Failed; shop@shop.test not allowed to send as shop2@shop.test
RCPT | settings | sender not allowed | 550 5.1.8 Access denied, bad outbound sender
END | settings | sender not allowed | 550 5.7.750 Service unavailable. Client blocked from sending from unregistered domains.
END | settings | sender not allowed | 554 Message rejected: Email address is not verified. The following identities failed the check in region EU-WEST-1: shop@shop.test
END | settings | sender not allowed | 554 Access denied: User `arn:aws:iam::1:user/ses' is not authorized to perform `ses:SendRawEmail' on resource
DATA | settings | sender not allowed | 550 The from address does not match a verified Sender Identity. Mail cannot be sent until this error is resolved. Visit https://sendgrid.com/docs/for-developers/sending-email/sender-identity/ to see the Sender Identity requirements
RCPT | settings | sender not allowed | 403 You are not authorized to send from that email address
END | settings | sender not allowed | 550 From header sender domain not verified (shop.test)
END | settings | sender not allowed | 422 The 'From' address you supplied (shop@shop.test) is not a Sender Signature on your account.
END | settings | sender not allowed | 554 5.7.1 Domain shop.test is not allowed to send: The domain is unverified and requires DNS configuration. Log in to your control panel to view required DNS records.
RCPT | settings | sender not allowed | 550 Domain mg.shop.test is not allowed to send: Free accounts are for test purposes only.
MAIL | settings | sender not allowed | 550 not local sender over smtp
END | settings | sender not allowed | 550 not local sender over smtp
RCPT | settings | sender not allowed | 553 Relaying disallowed as shop@shop.test
RCPT | settings | sender not allowed | 554 5.1.8 Email Outgoing Blocked.
RCPT | settings | sender not allowed | 550 5.7.1 Sender not allowed
RCPT | settings | sender not allowed | 550 5.7.1 You are not allowed to send mail from this address
MAIL | settings | any other no to the sender | 553 Requested action not taken
MAIL | settings | any other no to the sender | 501 5.5.4 Invalid Address
END | settings | domain without SPF, DKIM or DMARC | 550-5.7.26 Unauthenticated email from shop.test is not accepted due to domain's\n550-5.7.26 DMARC policy. Please contact the administrator of shop.test domain if\n550 5.7.26 this was a legitimate mail. - gsmtp
END | settings | domain without SPF, DKIM or DMARC | 550-5.7.26 This mail has been blocked because the sender is unauthenticated.\n550 5.7.26 Gmail requires all senders to authenticate with either SPF or DKIM.
END | settings | domain without SPF, DKIM or DMARC | 550 5.7.1 This message was not accepted due to domain owner DMARC policy (RFC 7489) https://help.mail.ru/mail-help/postmaster/dmarc
END | settings | domain without SPF, DKIM or DMARC | 550 5.7.515 Access denied, sending domain SHOP.TEST doesn't meet the required authentication level.
RCPT | settings | domain without SPF, DKIM or DMARC | 550 5.7.23 <ann@x.test>: Recipient address rejected: Message rejected due to: SPF fail - not authorized.

# --- the login, encryption, relaying ---
AUTH | settings | login needed or refused | 535 5.7.8 Username and Password not accepted. Learn more at https://support.google.com
AUTH | settings | login needed or refused | 535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant.
AUTH | settings | login needed or refused | 535 5.7.0 NEOBHODIM parol prilozheniya https://help.mail.ru/mail/security/protection/external
AUTH | settings | login needed or refused | 534 5.7.9 Application-specific password required.
AUTH | settings | any other no to the login | 504 5.7.4 Unrecognized authentication type
AUTH | settings | any other no to the login | 501 5.5.2 Cannot Base64-decode Client responses
AUTH | outage | any other no at the door | 454 4.7.0 Temporary authentication failure
MAIL | settings | login needed or refused | 530 5.7.57 Client not authenticated to send mail.
RCPT | settings | login needed or refused | 530 Authentication required
RCPT | settings | login needed or refused | 550 5.7.1 Authentication Required. Learn more at https://support.google.com
RCPT | settings | login needed or refused | 550 authentication required
RCPT | settings | login needed or refused | 550 Unauthenticated senders not allowed
RCPT | settings | login needed or refused | 503 5.5.4 Error: send AUTH command first
RCPT | settings | login needed or refused | 503 This mail server requires authentication when attempting to send to a non-local e-mail address. Please check your mail client settings.
RCPT | settings | login needed or refused | 550-Please turn on SMTP Authentication in your mail client.\n550-host.x.test [192.0.2.1]:5000 is not permitted to\n550 relay through this server without authentication.
RCPT | settings | login needed or refused | 502 5.7.0 Please authenticate first
AUTH | settings | login needed or refused | 525 5.7.1 Unauthorized IP address
RCPT | settings | login needed or refused | 553 5.7.1 sorry, you must be authenticated: please log in
END | settings | login needed or refused | 554 Sending paused for this account. For more information, please check the inbox of the email address associated with your AWS account.
RCPT | settings | login needed or refused | 550 Your account has been suspended
MAIL | settings | encryption required | 530 5.7.0 Must issue a STARTTLS command first
RCPT | settings | encryption required | 530 5.7.7 Email sending without SSL/TLS encryption is not allowed
RCPT | settings | encryption required | 550 5.7.10 Encryption needed
MAIL | settings | encryption required | 451 5.7.3 STARTTLS is required to send mail
RCPT | settings | encryption required | 421 4.7.0 TLS required for RCPT domain, closing connection.
STARTTLS | settings | any other no to STARTTLS | 502 5.5.1 Command not implemented
STARTTLS | outage | server in trouble | 454 4.7.0 TLS not available due to local problem
RCPT | settings | relaying refused | 554 5.7.1 <ann@x.test>: Relay access denied
RCPT | settings | relaying refused | 454 4.7.1 <ann@x.test>: Relay access denied
RCPT | settings | relaying refused | 550 relay not permitted
RCPT | settings | relaying refused | 550 Relaying is prohibited
RCPT | settings | relaying refused | 553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)
RCPT | settings | relaying refused | 550 5.7.1 <ann@x.test>... Relaying denied. IP name lookup failed [192.0.2.1]
RCPT | settings | relaying refused | 550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain
RCPT | settings | relaying refused | 550 5.7.64 TenantAttribution; Relay Access Denied
RCPT | settings | login needed or refused | 550-5.7.1 Invalid credentials for relay [192.0.2.1]. The IP address you've\n550 5.7.1 registered does not match: mail relay denied
RCPT | settings | relaying refused | 571 Relaying not allowed: ann@x.test
RCPT | settings | login needed or refused | 550 5.7.1 <ann@x.test>... Relaying denied. Proper authentication required.
RCPT | settings | login needed or refused | 550 Relay access denied - please authenticate

# --- the host ---
RCPT | settings | host refused | 554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org; https://www.spamhaus.org/query/ip/192.0.2.1
RCPT | settings | host refused | 554 5.7.1 <unknown[192.0.2.1]>: Client host rejected: Access denied
RCPT | settings | host refused | 450 4.7.25 Client host rejected: cannot find your hostname, [192.0.2.1]
RCPT | settings | host refused | 504 5.5.2 <localhost>: Helo command rejected: need fully-qualified hostname
RCPT | settings | host refused | 450 4.7.1 <worker-1>: Helo command rejected: Host not found
EHLO | settings | host refused | 550 Access denied - Invalid HELO name (See RFC2821 4.1.1.1)
MAIL | settings | host refused | 550 5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent. Please contact your Internet service provider since part of their network is on our block list (S3150).
RCPT | settings | host refused | 550 5.7.606 Access denied, banned sending IP [192.0.2.1]
RCPT | settings | host refused | 550 5.7.708 Service unavailable. Access denied, traffic not accepted from this IP.
RCPT | settings | host refused | 550-5.7.1 [192.0.2.1] The IP you're using to send mail is not authorized to\n550-5.7.1 send email directly to our servers. Please use the SMTP relay at your\n550 5.7.1 service provider instead. - gsmtp
END | settings | host refused | 550 5.7.25 [192.0.2.1] The IP address sending this message does not have a PTR record setup
RCPT | settings | host refused | 550 Access from ip address 192.0.2.1 blocked.
CONNECT | settings | host refused | 553 5.7.1 [BL21] Connections will not be accepted from 192.0.2.1, because the ip is in Spamhaus's list; see http://postmaster.yahoo.com/550-bl23.html
CONNECT | settings | host refused | 554-mx.x.test\n554 Your access to this mail system has been rejected due to the sending MTA's poor reputation.
CONNECT | settings | host refused | 554 5.3.2 no SMTP service here
CONNECT | outage | any other no at the door | 554 mail.x.test not you
CONNECT | outage | any other no at the door | 521 server does not accept mail
EHLO | settings | any other no to EHLO | 500 EHLO not understood
EHLO | settings | any other no to EHLO | 501 Syntactically invalid argument(s)

# --- the server itself ---
RCPT | outage | server hangs up | 421 bye
MAIL | outage | server hangs up | 421 4.4.5 Server busy, try again later.
RCPT | outage | server hangs up | 421 4.3.0 Temporary System Problem. Try again later
MAIL | outage | server in trouble | 452 4.3.1 Insufficient system storage
RCPT | outage | server in trouble | 451 4.3.0 <ann@x.test>: Temporary lookup failure
RCPT | outage | server in trouble | 451 Temporary local problem - please try later
END | outage | server in trouble | 451 4.3.0 Error: queue file write error
END | outage | server in trouble | 451 Temporary service failure
RCPT | outage | server in trouble | 452 space shortage, please try later
RCPT | outage | server in trouble | 452 4.4.5 Insufficient disk space; try again later
RCPT | outage | server in trouble | 553 5.3.5 system config error
RCPT | outage | server hangs up | 421 4.3.2 Service not available
END | outage | server in trouble | 554 5.3.1 mail system full
RCPT | outage | command not understood | 502 5.5.2 Error: command not recognized
DATA | outage | command not understood | 503 5.5.1 Error: need RCPT command

# --- unknown mailboxes: final ---
RCPT | refused | any other refusal | 550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302).
RCPT | refused | any other refusal | 550 Account disabled
RCPT | refused | any other refusal | 550 5.2.1 Mailbox disabled, not accepting messages
RCPT | refused | any other refusal | 550 Blocked by recipient policy
RCPT | refused | any other refusal | 554 5.4.6 Too many hops
RCPT | refused | any other refusal | 554 5.4.14 Hop count exceeded - possible mail loop ATTR34
RCPT | refused | no such mailbox | 550 5.1.1 <ann@x.test>: Recipient address rejected: User unknown in local recipient table
RCPT | refused | no such mailbox | 550-5.1.1 The email account that you tried to reach does not exist. Please try\n550-5.1.1 double-checking the recipient's email address for typos or\n550-5.1.1 unnecessary spaces. For more information, go to\n550 5.1.1 https://support.google.com/mail/?p=NoSuchUser - gsmtp
RCPT | refused | no such mailbox | 550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient ann@x.test not found by SMTP address lookup
RCPT | refused | no such mailbox | 550 5.4.1 Recipient address rejected: Access denied. [AM5EUR02.prod.protection.outlook.com]
RCPT | refused | no such mailbox | 504 5.5.2 <ann>: Recipient address rejected: need fully-qualified address
RCPT | refused | no such mailbox | 556 5.1.10 Recipient address has null MX
RCPT | refused | no such mailbox | 550 sorry, no mailbox here by that name. (#5.1.1)
RCPT | refused | no such mailbox | 550 5.1.1 <ann@x.test>... User unknown
RCPT | refused | no such mailbox | 550 #5.1.1 Bad recipient
RCPT | refused | no such mailbox | 553 5.1.3 <ann>... Hostname required
RCPT | refused | no such mailbox | 550 5.1.1 <try-again-later@x.test>: Recipient address rejected: User unknown
RCPT | refused | any other refusal | 550 no such user <sending.limit.exceeded@x.test> here, mail quota@x.test instead
RCPT | refused | any other refusal | 550 User unknown
RCPT | refused | any other refusal | 550 user unknown
RCPT | refused | any other refusal | 550 NO SUCH USER HERE
RCPT | refused | any other refusal | 550 Unrouteable address
RCPT | refused | any other refusal | 550 Requested action not taken: mailbox unavailable
RCPT | refused | any other refusal | 550 5.7.1 No such user!
RCPT | refused | any other refusal | 550 Message was not accepted -- invalid mailbox.  Local mailbox ann@x.test is unavailable: user not found
RCPT | refused | any other refusal | 550 Message was not accepted -- invalid mailbox.  Local mailbox ann@x.test is unavailable: account is disabled
RCPT | refused | any other refusal | 550 5.2.1 The email account that you tried to reach is disabled.
END | refused | any other refusal | 554 delivery error: dd This user doesn't have a yahoo.com account (ann@yahoo.com) [0] - mta1284.mail.bf1.yahoo.com
END | refused | any other refusal | 554 delivery error: dd Sorry, your message to ann@x.test cannot be delivered. This mailbox is disabled (554.30).
RCPT | refused | any other refusal | 551 User not local; please try <ann@y.test>
RCPT | refused | any other refusal | 553 Invalid/inactive user
RCPT | refused | any other refusal | 501 <ann@>: domain missing or malformed
RCPT | refused | any other refusal | 550 5.7.1 Access denied
RCPT | refused | any other refusal | 550 no
RCPT | refused | any other refusal | 550 5.7.1 Recipient address rejected: Please see http://example.org/try-again-later
RCPT | refused | recipient takes no mail from us | 550 5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup; authentication required; Delivery restriction check failed because the sender was not authenticated when sending to this group
RCPT | refused | recipient takes no mail from us | 550 5.7.1 RESOLVER.RST.AuthRequired; authentication required
RCPT | refused | recipient takes no mail from us | 550 5.7.1 You do not have permission to send to this recipient
RCPT | refused | recipient takes no mail from us | 550-5.7.1 We're writing to let you know that the group you tried to contact (staff)\n550-5.7.1 may not exist, or you may not have permission to post messages to\n550 5.7.1 the group.

# --- the content: final ---
END | refused | content | 554 5.7.1 Message rejected under suspicion of SPAM; https://ya.cc/1IrBc
END | refused | content | 550 spam message rejected. Please visit http://help.mail.ru/notspam-support/id?c=x or report details to abuse@corp.mail.ru. Error code: x.
END | refused | content | 550-5.7.1 Our system has detected that this message is likely unsolicited mail.\n550-5.7.1 To reduce the amount of spam sent to Gmail, this message has been blocked.\n550 5.7.1 Please visit https://support.google.com/mail/?p=UnsolicitedMessageError - gsmtp
END | refused | content | 552-5.7.0 This message was blocked because its content presents a potential\n552 5.7.0 security issue. Please visit https://support.google.com/mail/?p=BlockedMessage - gsmtp
END | refused | content | 554 5.7.1 Message contains a URL listed by surbl
END | refused | content | 550 5.7.1 virus Eicar-Test-Signature detected by ClamAV
END | refused | content | 550 5.6.0 Lone CR or LF in body
END | refused | any other refusal | 550 5.7.1 Message blocked by policy
END | refused | content | 550 Your message contains too many links, please correct it and try sending it again
END | refused | any other refusal | 554 5.7.0 Reject, id=01234-05 - SPAM
END | refused | any other refusal | 550 5.7.1 Message rejected due to policy
END | refused | any other refusal | 554 Transaction failed
END | refused | any other refusal | 550 Administrative prohibition
END | refused | mail too large | 552 5.3.4 Message size exceeds fixed limit
MAIL | refused | mail too large | 552 5.3.4 Message size exceeds fixed limit
MAIL | refused | mail too large | 552 too large
END | refused | mail too large | 552-5.3.4 Your message exceeded Google's message size limits. Please visit\n552 5.3.4 https://support.google.com/mail/?p=MaxSizeError - gsmtp
END | refused | mail too large | 552 sorry, that message size exceeds my databytes limit (#5.3.4)
RCPT | refused | mail too large | 550 Message size exceeds maximum permitted
END | refused | mail too large | 552 5.2.3 Message exceeds maximum fixed size
END | refused | mail too large | 554 5.3.4 Error: message file too big
"""
