package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/e2e/hosts"
	"elemental/e2e/registry"
)

// upgrades is how often a host goes from one version to the other.
const upgrades = 5

const firstVersion = "v1" // of the system with which a host is installed

// upgrade is the course of one.
type upgrade struct {
	patched time.Time
	staged  time.Time // the outcome Staged was seen
	told    time.Time // the first word of the next boot was seen
	ready   time.Time // kubectl wait returned
	down    time.Time // the container had ended
	up      time.Time // the next one was started
}

// upgrader is a host that is upgraded.
type upgrader struct {
	*bench
	name    string
	machine *hosts.Host
	systems [2]registry.Pushed
}

// takeUpgrades upgrades a host in a container, forth and back.
func (b *bench) takeUpgrades(ctx context.Context) error {
	if err := hosts.Missing(); err != nil {
		b.skip("patch_to_ready_s", err)
		return nil
	}
	u := &upgrader{bench: b, name: "upgraded"}
	if err := u.start(ctx); err != nil {
		return err
	}
	// The first upgrade fetches what the disk does not have yet.
	if _, err := u.to(ctx, 1); err != nil {
		return err
	}
	var all []upgrade
	for n := range upgrades {
		b.now("upgrades a host, %d of %d times so far", n, upgrades)
		course, err := u.to(ctx, n%2)
		if err != nil {
			return err
		}
		all = append(all, course)
	}
	u.tell(all)
	return nil
}

// pushSystems publishes two systems that differ in their last layer.
func (b *bench) pushSystems(ctx context.Context) ([2]registry.Pushed, error) {
	if b.Images == nil {
		if err := b.StartRegistry(); err != nil {
			return [2]registry.Pushed{}, err
		}
	}
	var pushed [2]registry.Pushed
	for i, version := range []string{firstVersion, "v2"} {
		var err error
		if pushed[i], err = b.Push(ctx, "system:"+version, registry.System{Version: version}); err != nil {
			return pushed, err
		}
	}
	return pushed, nil
}

func (u *upgrader) start(ctx context.Context) error {
	u.now("pushes two systems")
	var err error
	if u.systems, err = u.pushSystems(ctx); err != nil {
		return err
	}
	u.now("installs a host")
	if _, err := u.Cluster.Kubectl(ctx, "create", "namespace", upgradeNamespace); err != nil {
		return err
	}
	config, err := u.Register(ctx, upgradeNamespace, u.name)
	if err != nil {
		return err
	}
	if u.machine, err = u.StartHost(ctx, config, registry.System{Version: firstVersion}, u.systems[0].Reference); err != nil {
		return err
	}
	u.later(u.machine.Remove)
	return u.explain(ctx, u.watchHosts(ctx, upgradeNamespace, u.name, ready))
}

// to upgrades the host to one of the two systems, as the documentation does it.
func (u *upgrader) to(ctx context.Context, system int) (upgrade, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	watcher, err := u.beginWatch(ctx, upgradeNamespace, u.name)
	if err != nil {
		return upgrade{}, err
	}
	defer watcher.stop()

	course := upgrade{patched: time.Now()}
	generation, err := u.ask(ctx, upgradeNamespace, u.name, fmt.Sprintf(`{"osVersion":{"imageUri":%q}}`, u.systems[system].Reference))
	if err != nil {
		return upgrade{}, err
	}
	var waited error
	var kubectl sync.WaitGroup
	kubectl.Go(func() {
		_, waited = u.Cluster.Kubectl(ctx, "--namespace", upgradeNamespace, "wait", "--for=condition=ready", "elementalhost", u.name, "--timeout="+patience.String())
		course.ready = time.Now()
	})
	before := ""
	err = watcher.follow(ctx, func(h *v1beta1.ElementalHost) bool {
		if h.Status.System == nil || h.Status.OSVersion == nil {
			return false
		}
		if before == "" {
			before = h.Status.System.BootID
		}
		switch now := time.Now(); {
		case h.Generation < generation:
		case h.Status.System.BootID != before && course.told.IsZero():
			course.told = now
		case h.Status.ObservedGeneration == generation && h.Status.OSVersion.Outcome == "Staged" && course.staged.IsZero():
			course.staged = now
		}
		return h.Generation >= generation && ready(h)
	})
	kubectl.Wait()
	if err == nil {
		err = waited
	}
	if err != nil {
		return upgrade{}, u.explain(ctx, err)
	}
	boots := u.machine.Boots()
	if len(boots) < 2 || course.staged.IsZero() || course.told.IsZero() {
		return upgrade{}, fmt.Errorf("upgrading host %s: it was ready without a restart", u.name)
	}
	course.down, course.up = boots[len(boots)-2].Ended, boots[len(boots)-1].At
	return course, nil
}

func (u *upgrader) explain(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	return fmt.Errorf("%w\n%s", err, u.machine.Report(ctx))
}

func (u *upgrader) tell(all []upgrade) {
	took := func(of func(upgrade) time.Duration) (middle float64, each string) {
		var times []time.Duration
		for _, course := range all {
			times = append(times, of(course))
		}
		return median(times).Seconds(), spread(times)
	}
	total, each := took(func(c upgrade) time.Duration { return c.ready.Sub(c.patched) })
	u.figure("patch_to_ready_s", total, "median of %d upgrades between two systems that differ in a small layer, on a host in systemd-nspawn with one boot for each: from the patch until kubectl wait returns; all of them: %s", upgrades, each)
	staged, each := took(func(c upgrade) time.Duration { return c.staged.Sub(c.patched) })
	u.figure("staged_s", staged, "the part of it until a watch shows the outcome Staged; all of them: %s", each)
	down, _ := took(func(c upgrade) time.Duration { return c.down.Sub(c.staged) })
	up, _ := took(func(c upgrade) time.Duration { return c.told.Sub(c.up) })
	restart, each := took(func(c upgrade) time.Duration { return c.told.Sub(c.staged) })
	u.figure("restart_s", restart, "from there until a watch shows the first report of the next boot, with %s s until the container ended and %s s from the start of the next; all of them: %s", number(down), number(up), each)
	confirm, each := took(func(c upgrade) time.Duration { return c.ready.Sub(c.told) })
	u.figure("confirm_s", confirm, "from there until kubectl wait returns; all of them: %s", each)
}
