package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/adapters/kubernetes/enrollment" //nolint:depguard // A host's part in joining, two hundred times, without as many agents.
	"elemental/e2e/hosts"
	"elemental/ports" //nolint:depguard // It is what the enrollment speaks.
)

const (
	joiningRegistration = "bench"
	joiningAlone        = 5   // agents, one after the other
	joiningTogether     = 200 // hosts, at once
)

// joiner is an agent that joined by itself, and has nothing to do.
type joiner struct {
	process *hosts.Process
	user    string
	ready   time.Time
}

// takeJoining lets hosts join: agents one after the other, and many hosts at once.
func (b *bench) takeJoining(ctx context.Context) error {
	b.now("opens a registration")
	bundle, err := b.openRegistration(ctx)
	if err != nil {
		return err
	}
	b.now("lets %d agents join, one after the other", joiningAlone)
	if err := b.joinAlone(ctx, bundle); err != nil {
		return err
	}
	b.now("lets %d hosts join at once", joiningTogether)
	return b.joinTogether(ctx, bundle)
}

func (b *bench) openRegistration(ctx context.Context) (enrollment.Bundle, error) {
	for _, args := range [][]string{
		{"create", "namespace", joiningNamespace},
		{"apply", "--namespace", joiningNamespace, "-k", filepath.Join(b.Checkout, "packaging", "rbac", "hosts")},
	} {
		if _, err := b.Cluster.Kubectl(ctx, args...); err != nil {
			return enrollment.Bundle{}, err
		}
	}
	registration := &v1beta1.ElementalRegistration{ObjectMeta: metav1.ObjectMeta{Namespace: joiningNamespace, Name: joiningRegistration}}
	if err := b.cluster.Create(ctx, registration); err != nil {
		return enrollment.Bundle{}, fmt.Errorf("creating the registration: %w", err)
	}
	if _, err := b.Cluster.Kubectl(ctx, "wait", "--namespace", joiningNamespace, "--for=condition=ready", "--timeout=60s", "elementalregistration/"+joiningRegistration); err != nil {
		return enrollment.Bundle{}, err
	}
	secret := &corev1.Secret{}
	if err := b.cluster.Get(ctx, client.ObjectKey{Namespace: joiningNamespace, Name: registrar()}, secret); err != nil {
		return enrollment.Bundle{}, fmt.Errorf("reading the registration's bundle: %w", err)
	}
	return enrollment.Bundle{
		Server: string(secret.Data["server"]), CA: secret.Data["ca.crt"], Namespace: joiningNamespace, Registration: joiningRegistration, Token: string(secret.Data["token"]),
	}, nil
}

func registrar() string { return "elemental-reg-" + joiningRegistration }

// joinAlone measures agents from their start until their hosts are ready, and counts what the last one asks for.
func (b *bench) joinAlone(ctx context.Context, bundle enrollment.Bundle) error {
	known := map[string]bool{}
	var took []time.Duration
	var began, ended time.Time
	var last string
	var process *hosts.Process
	for range joiningAlone {
		began = time.Now()
		var err error
		process, err = hosts.StartProcess(b.Binary, hosts.Config{
			Host: "medium", Namespace: joiningNamespace, Hostname: map[string]any{"prefix": "edge-"},
			Registration: map[string]string{
				"server": bundle.Server, "certificateAuthority": string(bundle.CA), "namespace": bundle.Namespace, "name": bundle.Registration, "token": bundle.Token,
			},
		})
		if err != nil {
			return err
		}
		b.later(process.Remove)
		err = b.watchHosts(ctx, joiningNamespace, "", func(h *v1beta1.ElementalHost) bool {
			last = h.Name
			return ready(h) && !known[h.Name]
		})
		if err != nil {
			return fmt.Errorf("waiting until an agent has joined: %w; it said last:\n%s", err, process.Log())
		}
		ended = time.Now()
		known[last] = true
		took = append(took, ended.Sub(began))
	}
	b.figure("join_ready_p50_s", median(took).Seconds(), "from the start of an agent that knows only a registration until its host is ready, in a cluster that nobody else uses; all %d: %s s",
		joiningAlone, spread(took))
	user := "system:serviceaccount:" + joiningNamespace + ":"
	total, words := 0, []string{}
	for _, account := range []string{registrar(), "elemental-host-" + last} {
		kinds, err := b.requests(user+account, began, ended)
		if err != nil {
			return err
		}
		for _, kind := range slices.Sorted(maps.Keys(kinds)) {
			total += kinds[kind]
			words = append(words, fmt.Sprintf("%d %s", kinds[kind], kind))
		}
	}
	b.figure("join_requests", float64(total), "by the API server's audit log of both accounts of the last of these, until it was ready: %s", strings.Join(words, ", "))
	b.joined = &joiner{process: process, user: user + "elemental-host-" + last, ready: ended}
	return nil
}

// joinTogether measures hosts that are nothing but their enrollment.
func (b *bench) joinTogether(ctx context.Context, bundle enrollment.Bundle) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var all sync.WaitGroup
	took, failures := make([]time.Duration, joiningTogether), make([]error, joiningTogether)
	names := make([]string, joiningTogether)
	began := time.Now()
	for i := range joiningTogether {
		all.Go(func() {
			enrolled := enrollment.New(filepath.Join(b.folder, "joining", fmt.Sprint(i), "identity"), func() (enrollment.Bundle, error) { return bundle, nil })
			said := ""
			identity, err := enrolled.Join(ctx, ports.Applicant{Serial: fmt.Sprintf("S%d", i)}, func(reason, message string) { said = reason + ": " + message })
			if err != nil {
				failures[i] = fmt.Errorf("joining as host %d: %w (%s)", i, err, said)
			}
			took[i], names[i] = time.Since(began), identity.Host
		})
	}
	all.Wait()
	ended := time.Now()
	if err := errors.Join(failures...); err != nil {
		return err
	}
	slices.Sort(names)
	if different := len(slices.Compact(names)); different != joiningTogether {
		return fmt.Errorf("%d hosts came to be %d", joiningTogether, different)
	}
	kinds, err := b.requests("system:serviceaccount:"+joiningNamespace+":"+registrar(), began, ended)
	if err != nil {
		return err
	}
	total := 0
	for _, n := range kinds {
		total += n
	}
	b.figure("join_200_s", ended.Sub(began).Seconds(), "until the last of %d hosts that come at once has its credentials on its disk, each a real enrollment in one process; p50 %s s, p99 %s s; %s requests a host",
		joiningTogether, number(median(took).Seconds()), number(percentile(took, 99).Seconds()), number(float64(total)/joiningTogether))
	return nil
}
