package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sync/errgroup"

	"elemental/core"
	"elemental/ports"
)

// staging is one staging under way.
type staging struct {
	engine   *Engine
	want     wish
	request  ports.Request
	progress *progress
	trial    bool // whether the new system has to prove itself

	image   ports.Image
	id      string
	state   state
	room    *room
	objects *store
	created bool // the deployment was not there before
}

// Stage writes the image that is asked for next to the system that runs and makes it the next to be booted, for
// a counted number of tries. It may be killed at any moment and asked for again.
func (e *Engine) Stage(ctx context.Context, request ports.Request, tell func(ports.Progress)) error {
	return e.stage(ctx, request, tell, true)
}

// Install stages the first system of a disk: it has nothing to fall back to, and is not on trial.
func (e *Engine) Install(ctx context.Context, request ports.Request, tell func(ports.Progress)) error {
	return e.stage(ctx, request, tell, false)
}

func (e *Engine) stage(ctx context.Context, request ports.Request, tell func(ports.Progress), trial bool) error {
	want, err := readWish(request.OSVersion)
	if err != nil {
		return err
	}
	if want == nil {
		return core.Failure{Class: core.FailureInvalid, Reason: "MissingField", Path: imagePath, Message: "no image is asked for"}
	}
	unlock, err := e.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := e.checkNoReset(ctx); err != nil {
		return err
	}
	if err := e.removeDropped(); err != nil {
		return err
	}
	s := &staging{engine: e, want: *want, request: request, trial: trial, progress: &progress{tell: tell, now: e.Now}}
	return s.run(ctx)
}

func (s *staging) run(ctx context.Context) error {
	if err := s.clean(); err != nil {
		return err
	}
	defer func() {
		if err := s.clean(); err != nil {
			s.engine.Log.Warn("staging left something behind; the next one removes it", "error", err)
		}
	}()
	if s.id == "" { // An installation has resolved it before it changed anything.
		if err := s.resolve(ctx); err != nil {
			return err
		}
	}
	var err error
	if s.state, err = s.engine.look(ctx); err != nil {
		return err
	}
	if s.trial { // The first system of a disk has no boot entry of another beside it.
		if err := s.engine.checkEntry(s.state); err != nil {
			return err
		}
	}
	if s.id == s.state.booted {
		return s.renew() // It runs. Its tree and its boot entry are never touched.
	}
	if s.state.onTrial() {
		return core.Failure{
			Class: core.FailureFailed, Reason: ReasonOnTrial,
			Message: "the running system is on trial itself; confirm it or roll it back before another is staged",
		}
	}
	if s.trial {
		if err := s.checkDowngrade(); err != nil {
			return err
		}
	}
	record, err := s.engine.record(s.id)
	if err != nil || !s.engine.hasKernel(record) || !s.engine.hasTree(s.id) {
		if record, err = s.createWithRoom(ctx); err != nil {
			return err
		}
	}
	return s.publish(ctx, record)
}

// createWithRoom creates the deployment, and, where there is too little room, once more with what can be made.
func (s *staging) createWithRoom(ctx context.Context) (Record, error) {
	record, err := s.create(ctx)
	var failure core.Failure
	if !errors.As(err, &failure) || failure.Reason != ReasonDiskFull {
		return record, err
	}
	gained, failed := s.makeRoom(ctx)
	if failed != nil {
		return Record{}, fmt.Errorf("%w (%w)", err, failed)
	}
	if !gained {
		return Record{}, err
	}
	return s.create(ctx)
}

// clean removes what a staging that was killed left behind.
func (s *staging) clean() error {
	if err := os.RemoveAll(s.engine.path("staging")); err != nil {
		return fmt.Errorf("cleaning the staging folder: %w", err)
	}
	return nil
}

// resolve finds the image and what it means for this host.
func (s *staging) resolve(ctx context.Context) error {
	s.progress.begin(StepResolve, "resolving "+s.want.ImageURI)
	image, err := s.engine.Images.Resolve(ctx, s.want.ImageURI, s.engine.Architecture)
	if err != nil {
		return fmt.Errorf("resolving %q: %w", s.want.ImageURI, err)
	}
	digests := []string{image.Digest}
	for _, layer := range image.Layers {
		digests = append(digests, layer.Digest, layer.DiffID)
		if layer.Size < 0 || layer.Size > s.engine.Budget.Bytes {
			return badImage(ReasonTooBig, "layer %s has %d bytes", layer.Digest, layer.Size)
		}
	}
	for _, digest := range digests { // They become names of files.
		if !digestForm.MatchString(digest) {
			return badImage(ReasonBadDigest, "the image speaks of the digest %.100q; only sha256 is known", digest)
		}
	}
	s.debug("resolved", "reference", s.want.ImageURI, "digest", image.Digest, "layers", len(image.Layers))
	if want := s.want.Digest; want != "" && want != image.Digest && want != image.Index {
		return core.Failure{
			Class: core.FailureFailed, Reason: ReasonBadDigest, Path: "osVersion.digest",
			Message: fmt.Sprintf("%s is %s, and the request wants %s", s.want.ImageURI, image.Digest, want),
		}
	}
	s.image, s.id = image, deploymentID(image.Digest)
	return nil
}

// renew notes that the running system is what the reference now leads to.
func (s *staging) renew() error {
	record, err := s.engine.record(s.id)
	if err != nil {
		return err
	}
	return s.engine.writeRecord(s.sign(record))
}

// sign notes in a record who asked for it, as what.
func (s *staging) sign(r Record) Record {
	r.name(s.want.ImageURI, s.state.newestOf(s.want.ImageURI, s.engine.Now()))
	r.Requested, r.Host, r.HealthChecks = s.request.Hash, s.request.Host, s.want.HealthChecks
	r.Index, r.UpgradeRecovery, r.ImageVersion = s.image.Index, s.want.UpgradeRecovery, s.image.Version
	if !s.trial { // There is nothing that could be a better one.
		r.Recovery = r.UpgradeRecovery
	}
	return r
}

// private is the mode of folders with systems that do not run: nobody but root may reach their set-user-ID programs
// and devices.
const private = 0o700

// makePrivate makes a folder, and takes from others what an earlier version gave them.
func makePrivate(path string) error {
	return errors.Join(os.MkdirAll(path, private), os.Chmod(path, private))
}

// create writes a deployment that is not there yet.
func (s *staging) create(ctx context.Context) (Record, error) {
	e := s.engine
	for _, folder := range []string{"layers", "deployments", "staging/blobs", "staging/layers", "staging/deployment"} {
		if err := makePrivate(e.path(folder)); err != nil {
			return Record{}, fmt.Errorf("making the folders of the engine: %w", err)
		}
	}
	var err error
	if s.objects, err = openStore(e.path("objects"), e.path("staging/objects"), nil); err != nil {
		return Record{}, err
	}
	defer s.objects.close()
	s.progress.begin(StepPlan, "")
	p, err := s.makePlan(ctx)
	if err != nil {
		return Record{}, err
	}
	if err := s.takeRoom(p); err != nil {
		return Record{}, err
	}
	defer func() { _ = s.room.close() }() // The folder goes as a whole; an error here would say nothing new.
	s.objects.room = s.room
	if err := s.fill(ctx, p); err != nil {
		return Record{}, s.explain(err, p)
	}
	record, err := s.assemble(ctx)
	if err != nil {
		return Record{}, s.explain(err, p)
	}
	return record, nil
}

// takeRoom refuses what does not fit, before anything is written, and holds the room for what does.
func (s *staging) takeRoom(p plan) error {
	need := p.write + p.margin()
	free, err := s.engine.Free(s.engine.Root)
	if err != nil {
		return err
	}
	if uint64(need) > free {
		return diskFull(need, int64(free))
	}
	s.progress.begin(StepPlan, fmt.Sprintf("%d of %d layers to fetch, %s", len(p.unknown), len(s.image.Layers), bytesText(p.fetch)))
	s.room, err = holdRoom(s.engine.path("staging/room"), p.write)
	if isFull(err) {
		return diskFull(need, int64(free))
	}
	return err
}

// explain words an error of a full disk as what it is.
func (s *staging) explain(err error, p plan) error {
	if !isFull(err) {
		return err
	}
	free, _ := s.engine.Free(s.engine.Root) // Zero is near enough to the truth here.
	return fmt.Errorf("%w (%w)", diskFull(p.write+p.margin(), int64(free)), err)
}

// fetchers is how many layers are fetched at once.
const fetchers = 4

// fill fetches and unpacks the layers that are not known.
func (s *staging) fill(ctx context.Context, p plan) error {
	spent := &spending{budget: s.engine.Budget}
	unknown := map[string]bool{}
	for _, layer := range p.unknown {
		unknown[layer.DiffID] = true
	}
	for _, layer := range s.image.Layers {
		if unknown[layer.DiffID] {
			continue
		}
		if err := readRecord(s.engine.recordOf(layer.DiffID), spent.take); err != nil {
			return err
		}
	}
	s.progress.total = p.fetch
	if p.fetch > 0 {
		s.progress.begin(StepFetch, "")
	}
	network := make(chan struct{}, fetchers)
	processors := make(chan struct{}, min(fetchers, runtime.GOMAXPROCS(0)))
	group, ctx := errgroup.WithContext(ctx)
	for n, layer := range p.unknown {
		group.Go(func() error {
			at := s.engine.path("staging/blobs", fmt.Sprint(n))
			network <- struct{}{}
			blob, err := s.fetchBlob(ctx, layer, at)
			<-network
			if err != nil {
				return err
			}
			defer blob.Close()
			s.debug("fetched", "layer", layer.Digest, "bytes", layer.Size)
			processors <- struct{}{}
			defer func() { <-processors }()
			counted := io.TeeReader(blob, counter(s.progress.unpacked))
			if err := unpackLayer(ctx, counted, layer, s.objects, spent, s.fresh(layer.DiffID)); err != nil {
				return err
			}
			s.debug("unpacked", "layer", layer.Digest, "as", layer.DiffID)
			return os.Remove(at)
		})
	}
	return group.Wait()
}

// counter tells how many bytes went by.
type counter func(int64)

func (c counter) Write(p []byte) (int, error) { c(int64(len(p))); return len(p), nil }

// fresh is where the record of a layer lies until it is durable.
func (s *staging) fresh(diffID string) string {
	return s.engine.path("staging/layers", strings.TrimPrefix(diffID, "sha256:")+".json.zst")
}

// merge puts the layers together.
func (s *staging) merge(ctx context.Context) (*tree, error) {
	t := newTree(s.engine.Budget)
	for n, layer := range s.image.Layers {
		record := s.fresh(layer.DiffID)
		if _, err := os.Lstat(record); errors.Is(err, os.ErrNotExist) {
			record = s.engine.recordOf(layer.DiffID)
		}
		err := readRecord(record, func(e Entry) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return t.apply(n+1, e)
		})
		if err != nil {
			return nil, err
		}
	}
	return t, nil
}

// warn says what a person should know of a staging that succeeds: in the log, and as its progress.
func (s *staging) warn(message string, args ...any) {
	s.engine.Log.Warn(message, args...)
	s.progress.say(strings.TrimSpace(fmt.Sprintln(append([]any{message}, args...)...)))
}

// debug logs what only a request for it should.
func (s *staging) debug(message string, args ...any) {
	if s.want.Debug {
		s.engine.Log.Info(message, args...)
	}
}
