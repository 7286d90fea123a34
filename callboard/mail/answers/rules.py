"""The rules about mail servers' answers: the first that fits decides. The list is the table of decision 0004.

The order is from what names its cause to what does not: limits and full mailboxes before sizes ("quota", "exceeded"),
the sender and the login before unknown mailboxes ("no such user" may be about the sender), the sentence before the
code. What no rule knows goes by its basic code, and a refusal for good is the last.
"""

from __future__ import annotations

import re

from callboard.mail.answers.answer import DATA, END, RCPT, TRANSACTION, Fate, Reply, Rule, any_of
from callboard.mail.answers.by_code import BY_CODE

_NOT = r"(?:not|n't|never|un)"
_ALLOWED = r"(?:allowed|authori[sz]ed|permitted|permission\w*|have permission\w*|entitled)"

RULES: tuple[Rule, ...] = (
    Rule(
        name="recipient takes no mail from us",
        fate=Fate.REFUSED,
        reason="the recipient takes no mail from us",
        example="550 5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup; authentication required",
        source="Exchange Online",
        phases=frozenset({RCPT, DATA, END}),
        is_permanent=True,
        enhanced=re.compile(r"5\.7\.1(?:2\d|3[0-8])|5\.7\.50[457]"),
        words=any_of(
            r"resolver\.rst",
            rf"{_NOT}(?: \w+){{0,2}} ?{_ALLOWED} to (?:send|post|write)(?: \w+){{0,2}} (?:to|in)\b(?! (?:us|our)\b)",
            r"recipient has blocked",
            r"group you tried to contact",
        ),
    ),
    Rule(
        name="mailbox gets too much",
        fate=Fate.LATER,
        reason="{domain} takes no more for this mailbox now",
        example="450 4.2.1 The user you are trying to contact is receiving mail too quickly",
        source="Gmail, Yandex, Exchange Online",
        phases=TRANSACTION,
        enhanced=re.compile(r"[45]\.2\.12[0-9]"),
        words=any_of(
            r"is receiving (?:e-?mails?|mails?|messages)", r"recipient has (?:\w+ )?exceeded|recipient thread limit"
        ),
    ),
    Rule(
        name="sending limit",
        fate=Fate.LIMIT,
        reason="sending limit reached",
        example="550 5.4.5 Daily user sending limit exceeded",
        source="Gmail, Exchange Online, Amazon SES, SendGrid, cPanel, Plesk, Yahoo",
        enhanced=re.compile(r"5\.4\.5|5\.1\.90|[45]\.5\.3|[45]\.7\.(?:28|508|65\d|705)|5\.7\.23[236]"),
        words=any_of(
            r"throttl|rate.?limit|rate (?:\w+ ){0,3}exceed|unusual rate|frequency limit|too frequent",
            r"(?:daily|hourly|24.hour|sending|outgoing|outbound|submission|relay|messaging|message rate|e-?mail rate"
            r"|account|connection|recipients) (?:\w+ ){0,3}(?:limits?|quotas?|credits)\b(?! of size)",
            r"limits? (?:\w+ ){0,4}(?:number|amount|outgoing|messages|e-?mails|recipients|per (?:hour|day|minute))",
            r"(?:send|sent) limit|organi[sz]ation (?:\w+ ){0,2}quota|submissionquota",
            r"credits exceeded|(?:message|mail) quota",
            r"exceed\w* (?:\S+ ){0,6}(?:per (?:hour|day|minute)|sending|rate|defers|recipients|threshold)",
            r"only \d+ \w+ per (?:hour|day|minute)|per (?:hour|day|minute) (?:limit|exceeded)",
            r"(?:tenant|domain|account) (?:\w+ ){0,3}exceed\w* (?:\w+ ){0,2}(?:threshold|limit)",
            r"too many (?:\w+ ){0,2}(?:messages|e-?mails|mails|recipients|connections|sessions|requests|logins?)",
            r"too much mail|unusual sending activity|unexpected volume|too fast|slow down",
        ),
        advice="Mails leave by themselves when the limit allows; have it raised, or send less at once.",
    ),
    Rule(
        name="mailbox full",
        fate=Fate.LATER,
        reason="the mailbox at {domain} is full",
        example="552 5.2.2 The email account that you tried to reach is over quota",
        source="RFC 3463 X.2.2, Gmail, Exchange, Dovecot",
        phases=TRANSACTION,
        enhanced=re.compile(r"[45]\.2\.2"),
        words=any_of(
            r"(?:mailbox|inbox|maildir|user|account|recipient)\b[^.;:]{0,60}\b(?:full|out of (?:storage|space))\b",
            r"over ?-?(?:the |its |his )?quota|quota (?:\w+ ){0,2}(?:exceeded|reached|full)|disk quota",
            r"exceed\w* (?:\w+ ){0,4}(?:storage|quota)|(?:mailbox|storage) (?:size )?(?:limit|quota)",
            r"(?:not enough|insufficient) (?:mailbox |user )?(?:storage|space)(?! on)",
        ),
    ),
    Rule(
        name="greylisting",
        fate=Fate.LATER,
        reason="greylisted by {domain}",
        example="450 4.2.0 Recipient address rejected: Greylisted",
        source="postgrey, milter-greylist",
        words=any_of(r"gr[ae]y.?list"),
        phases=TRANSACTION,
    ),
    Rule(
        name="content",
        fate=Fate.REFUSED,
        reason="the content was refused",
        example="554 5.7.1 Message rejected under suspicion of SPAM",
        source="Yandex, Mail.ru, Gmail, amavis",
        phases=frozenset({DATA, END}),
        is_permanent=True,
        enhanced=re.compile(r"5\.6\.\d+|5\.7\.(?:7|512)"),
        words=any_of(
            r"virus|malware|infected|phish|surbl|uribl|\b(?:url|uri|link)s?\b|attachment|\bcontent\b",
            r"suspicion of spam|spam message|(?:likely|is|as|be|contains?) (?:\w+ )?(?:spam|unsolicited)",
            r"spam (?:content|detected|score|message)",
        ),
    ),
    Rule(
        name="mail too large",
        fate=Fate.REFUSED,
        reason="the mail is too large",
        example="552 5.3.4 Message size exceeds fixed limit",
        source="RFC 1870, RFC 3463 X.3.4 and X.2.3",
        phases=TRANSACTION,
        is_permanent=True,
        codes=frozenset({552}),
        enhanced=re.compile(r"5\.3\.4|5\.2\.3"),
        words=any_of(
            r"too (?:big|large|long)\b|larger than",
            r"(?:size|databytes)\b.{0,40}(?:limit|exceed|max|allowed)",
            r"(?:exceed\w*|limit|max\w*)\b.{0,40}(?:size|databytes)\b",
        ),
    ),
    Rule(
        name="domain without SPF, DKIM or DMARC",
        fate=Fate.SETTINGS,
        reason="SMTP_FROM's domain fails SPF, DKIM or DMARC",
        example="550 5.7.26 Unauthenticated email from shop.test is not accepted due to domain's DMARC policy",
        source="RFC 7372, Gmail, Exchange Online, Mail.ru",
        phases=TRANSACTION,
        enhanced=re.compile(r"[45]\.7\.(?:2[0-46]|509|515)"),
        words=any_of(r"\b(?:spf|dkim|dmarc)\b"),
        advice="Correct the DNS records of SMTP_FROM's domain, or set an SMTP_FROM of a domain that has them.",
    ),
    Rule(
        name="sender not allowed",
        fate=Fate.SETTINGS,
        reason="the server does not take mail from SMTP_FROM",
        example="553 5.7.1 <shop@shop.test>: Sender address rejected: not owned by user shop",
        source="Postfix (smtpd_delay_reject), Exchange Online 5.7.60, Amazon SES, SendGrid, Postmark, Mail.ru, qmail",
        enhanced=re.compile(r"[45]\.1\.[78]|[45]\.7\.27|5\.7\.(?:60|750)"),
        words=any_of(
            r"sender (?:\w+ ){0,2}(?:reject|denied|refused|blocked|blacklist|banned|invalid|unknown|forbidden|verif)",
            rf"sender\b.{{0,60}}\b{_NOT}[ -]?(?:\w+ ){{0,2}}(?:verified|registered|confirmed|allowed|authori|permitted"
            r"|exist|accepted|valid|found|local|signature)",
            r"(?:bad|invalid|banned|unverified|unknown|null|wrong) (?:outbound )?sender\b|badmailfrom|bad outbound",
            r"not owned by|not (?:a )?local sender|(?:relaying )?disallowed as",
            rf"{_NOT}(?: \w+){{0,2}} ?{_ALLOWED} to (?:send|submit|use|perform)\b(?! (?:e-?mail )?directly)",
            r"\bfrom.{0,3} (?:address|header|domain|field)\b.{0,60}(?:not|n't|unverified|invalid)",
            r"invalid (?:mail )?from\b",
            r"(?:e-?mail address|domain|identit\w+)\b.{0,30}\b(?:is |are )?(?:not|un) ?verified",
            r"domain of sender|sender(?:'s)? domain",
        ),
        advice="Set SMTP_FROM, or SMTP_ENVELOPE_FROM, to a sender that this account may use.",
    ),
    Rule(
        name="encryption required",
        fate=Fate.SETTINGS,
        reason="the server wants an encrypted connection",
        example="530 5.7.0 Must issue a STARTTLS command first",
        source="RFC 3207, RFC 5248 X.7.10, Postfix, Yandex",
        codes=frozenset({523, 538}),
        enhanced=re.compile(r"[45]\.7\.1[01]"),
        words=any_of(
            r"(?:issue|use|need|require\w*|must)\b.{0,30}\b(?:starttls|tls|ssl|encrypt\w*)",
            r"\b(?:starttls|tls|ssl|encrypt\w+|secure connection)\b.{0,30}\b(?:required|needed|must|first|mandatory)",
            r"without (?:ssl|tls|encrypt)",
        ),
        advice="Set SMTP_SECURITY to starttls, or to tls with port 465.",
    ),
    Rule(
        name="login needed or refused",
        fate=Fate.SETTINGS,
        reason="the server wants another login",
        example="535 5.7.8 Username and Password not accepted",
        source="RFC 4954, Gmail, Exchange Online 5.7.57, Postfix, Exim, Mail.ru",
        codes=frozenset({525, 530, 534, 535}),
        enhanced=re.compile(r"5\.7\.(?:[389]|13|14|57|139)"),
        words=any_of(
            r"auth\w* (?:\w+ )?(?:is )?(?:required|needed|first)|requires? (?:\w+ )?auth|auth\w* command first",
            r"(?:please|must|need to|have to) (?:first )?(?:log ?in|auth|sign in|turn on smtp auth)",
            rf"{_NOT} ?(?:been |logged |was )?(?:authenticated|logged in)|log ?in (?:first|required|failed)",
            r"(?:invalid|incorrect|bad) credentials|smtp authentication|authentication (?:unsuccessful|failed)",
            r"(?:your|sending (?:\w+ ){0,3}this) (?:\w+ )?account\b.{0,40}(?:suspend|disabled|block|lock|paused)",
            r"sending (?:\w+ ){0,3}(?:suspended|paused|disabled|blocked)|outgoing (?:\w+ )?blocked",
        ),
        advice="Correct SMTP_USER and SMTP_PASS, and look at the state of the account.",
    ),
    Rule(
        name="relaying refused",
        fate=Fate.SETTINGS,
        reason="the server passes on no mail for us",
        example="554 5.7.1 <ann@x.test>: Relay access denied",
        source="Postfix, Exim, Sendmail, qmail, Exchange 5.7.54 and 5.7.64, Google's SMTP relay",
        enhanced=re.compile(r"5\.7\.(?:54|64)"),
        words=any_of(
            r"relay(?:ing)?,? (?:\w+ ){0,2}(?:denied|disallowed|prohibited|rejected|refused|forbidden)",
            rf"relay\w*\b.{{0,60}}{_NOT} ?{_ALLOWED}|{_NOT}(?: \w+){{0,3}} ?relay|(?:unable|refuse\w*) to relay",
            r"no relay|rcpthosts|open relay",
        ),
        advice="Set SMTP_USER and SMTP_PASS, or let the server pass on mail of this host.",
    ),
    Rule(
        name="host refused",
        fate=Fate.SETTINGS,
        reason="the server does not talk to this host",
        example="554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org",
        source="Postfix, Exim, Gmail, Outlook.com, Exchange Online 5.7.6xx, Yahoo",
        enhanced=re.compile(r"[45]\.7\.25|5\.7\.(?:50[1236]|51[013]|6[0-4]\d|708)"),
        words=any_of(
            r"client host|\b(?:helo|ehlo) (?:command|name|host|arg)|invalid (?:helo|ehlo)",
            r"reverse (?:dns|hostname)|\brdns\b|\bptr\b|cannot find your (?:host|rev)",
            r"blocked using|blocked by spam statistics|block.?list|black.?list",
            r"spamhaus|spamcop|barracuda|sorbs|\b(?:dns)?[dr]bl\b",
            r"\bips?\b.{0,60}\b(?:block|black|ban|not (?:in|auth|allowed)|denied|refused|reject|listed|reputation)",
            r"(?:banned|unauthori[sz]ed|from) (?:sending )?(?:this )?ip\b|poor reputation|low reputation",
            rf"connections? (?:\w+ ){{0,3}}{_NOT}(?: be)? accepted|no smtp service",
        ),
        advice="Correct this host's DNS name, have its address taken off the list, or use another server.",
    ),
    *BY_CODE,
)


def rule_for(reply: Reply) -> Rule:
    """Return the rule that decides about an answer."""
    return next(rule for rule in RULES if rule.fits(reply))
