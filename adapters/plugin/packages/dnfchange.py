# One transaction of dnf that does all of a plan or nothing: dnf's own command line, with one more command. Its shell
# would go on where a package is not found, and its other commands do one thing each. PLAN stands above, and what
# happens is told on descriptor 3, one JSON object a line.
import os
import signal
import sys

import dnf
import dnf.callback
import dnf.cli.cli
import dnf.cli.commands
import dnf.cli.main
import dnf.exceptions
import dnf.subject
import dnf.transaction
import hawkey

try:
    os.set_inheritable(3, False)
    status = os.fdopen(3, 'w', 1)
except OSError:
    status = open(os.devnull, 'w')  # Nobody listens.


class Unheard:
    """An output whose listener may end: what was begun must not end with it."""

    def __init__(self, stream):
        self.stream = stream

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def write(self, text):
        try:
            return self.stream.write(text)
        except OSError:
            return len(text)

    def flush(self):
        try:
            self.stream.flush()
        except OSError:
            pass


status = Unheard(status)


def say(**fields):
    status.write(json.dumps(fields) + '\n')
    status.flush()


class Downloads(dnf.callback.DownloadProgress):
    def __init__(self, meter):
        self.meter, self.total, self.done, self.percent = meter, 0, {}, -1

    def start(self, total_files, total_size, *more, **named):
        self.total = total_size
        self.meter.start(total_files, total_size, *more, **named)

    def progress(self, payload, done):
        self.meter.progress(payload, done)
        self.done[str(payload)] = done
        percent = int(100 * sum(self.done.values()) / self.total) if self.total else 0
        if percent != self.percent:
            self.percent = percent
            say(step='Downloading', percent=min(percent, 100), message=str(payload))

    def end(self, payload, outcome, message):
        self.meter.end(payload, outcome, message)


class Display(dnf.callback.TransactionProgress):
    last = None

    def progress(self, package, action, ti_done, ti_total, ts_done, ts_total):
        now = (str(package), ts_done)
        if package and ts_total and now != self.last:
            self.last = now
            say(step='Installing', percent=min(100 * ts_done // ts_total, 100), message=str(package))


def versions(query):
    return sorted({p.evr for p in query}, reverse=True)


class Change(dnf.cli.commands.Command):
    aliases = ('elemental-change',)
    summary = 'makes a plan of Elemental true'

    @staticmethod
    def set_argparser(parser):
        pass

    def configure(self):
        demands = self.cli.demands
        demands.available_repos = demands.resolving = demands.root_user = demands.sack_activation = True
        demands.transaction_display = Display()
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # dnf has set it to end the program.
        sys.stdout, sys.stderr = Unheard(sys.stdout), Unheard(sys.stderr)

    def of_version(self, name, version):
        epoch, _, rest = version.rpartition(':')
        number, _, release = rest.partition('-')
        bare, _, arch = name.rpartition('.')
        query = self.base.sack.query().filter(name=name)
        if not query and bare:
            query = self.base.sack.query().filter(name=bare, arch=arch)
        asked = query.filter(version=number)
        if epoch:
            asked = asked.filter(epoch=int(epoch))
        if release:
            asked = asked.filter(release=release)
        return query, asked

    def run(self):
        self.base.output.progress = Downloads(self.base.output.progress)
        missing = False
        for name, version in (PLAN['hold'] or {}).items():
            query, asked = self.of_version(name, version)
            self.base.sack.add_excludes(query.available().difference(asked))
            if asked:
                obsoleting = self.base.sack.query().available().filter(obsoletes=asked)
                self.base.sack.add_excludes(obsoleting.difference(asked))
        for name, version in (PLAN['versions'] or {}).items():
            query, asked = self.of_version(name, version)
            best = asked.latest()
            if not best:
                say(missing=name, version=version, there=versions(self.base.sack.query(flags=hawkey.IGNORE_EXCLUDES).filter(name=name)))
                missing = True
                continue
            p = list(best)[0]
            spec = '%s-%s:%s-%s' % (p.name, p.epoch, p.version, p.release)
            self.base.install(spec + '.' + p.arch if '.' in name and p.name != name else spec)
        for name in PLAN['install'] or ():
            try:
                self.base.install(name)
            except dnf.exceptions.MarkingError as e:
                say(missing=name, why=str(e))
                missing = True
        self.leaving = set()
        for name in PLAN['remove'] or ():
            self.leaving.update(p.name for p in dnf.subject.Subject(name).get_best_query(self.base.sack).installed())
            self.base.remove(name)
        for name in PLAN['upgrade'] or ():
            try:
                self.base.upgrade(name)
            except dnf.exceptions.MarkingError:
                pass  # It is installed, and no repository has it: there is no newer one.
        if PLAN['upgradeAll']:
            self.base.upgrade_all()
        if missing:
            raise dnf.exceptions.Error('some packages were not found')

    def run_resolved(self):
        items = list(self.base.transaction or ())
        # Of a kernel an old version may go for a new one.
        coming = {i.pkg.name for i in items if i.action in dnf.transaction.FORWARD_ACTIONS}
        more = {i.pkg.name for i in items if i.action == dnf.transaction.PKG_REMOVE} - coming - self.leaving
        if more:
            say(removes=sorted(more))
            raise dnf.exceptions.Error('packages would be removed that are not to be')


class Cli(dnf.cli.cli.Cli):
    def __init__(self, base):
        super().__init__(base)
        self.register_command(Change)


sys.exit(dnf.cli.main.main(sys.argv[1:], cli_class=Cli))
