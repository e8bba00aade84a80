package v1beta1

import "elemental/core"

// The labels of an ElementalHost. Those that say "true" say nothing by any other value.
const (
	// LabelMachineName names the Cluster API Machine that a host serves.
	LabelMachineName = "elementalhost.infrastructure.cluster.x-k8s.io/machine-name"
	// LabelElementalMachineName names the ElementalMachine that a host serves.
	LabelElementalMachineName = "elementalhost.infrastructure.cluster.x-k8s.io/elemental-machine-name"
	// LabelInstalled is "true" on a host whose system is installed.
	LabelInstalled = "elementalhost.infrastructure.cluster.x-k8s.io/installed"
	// LabelBootstrapped is "true" on a host that has joined its cluster.
	LabelBootstrapped = "elementalhost.infrastructure.cluster.x-k8s.io/bootstrapped"
	// LabelNeedsReset is "true" on a host that is to be reset.
	LabelNeedsReset = "elementalhost.infrastructure.cluster.x-k8s.io/needs-reset"
	// LabelReset is "true" on a host that was reset.
	LabelReset = "elementalhost.infrastructure.cluster.x-k8s.io/reset"
	// LabelInPlaceUpdate arms a bootstrapped host for one update: pending, done or failed.
	LabelInPlaceUpdate = core.LabelInPlaceUpdate
	// LabelClusterName names the cluster that a host is a node of. It is Cluster API's own.
	LabelClusterName = "cluster.x-k8s.io/cluster-name"
	// LabelValueTrue is the value of the labels that say yes.
	LabelValueTrue = "true"
)

// LabelBootstrapData is "true" on a Secret with bootstrap data that may be handed to hosts which name it.
const LabelBootstrapData = "elementalhost.infrastructure.cluster.x-k8s.io/bootstrap-data"

// The annotations of an ElementalHost.
const (
	// AnnotationRegistrationName names the ElementalRegistration that a host came through.
	AnnotationRegistrationName = "elementalregistration.infrastructure.cluster.x-k8s.io/name"
	// AnnotationRegistrationNamespace is the namespace of that registration.
	AnnotationRegistrationNamespace = "elementalregistration.infrastructure.cluster.x-k8s.io/namespace"
	// AnnotationPubKey is a host's public key.
	AnnotationPubKey = "elementalhost.infrastructure.cluster.x-k8s.io/pub-key"
	// AnnotationRetry renews the request for an OS version that failed: any new value counts.
	AnnotationRetry = core.AnnotationRetry
	// AnnotationAnsweredRequest is the UID of the ElementalHostRequest by which a host last got its identity.
	AnnotationAnsweredRequest = "elementalhost.infrastructure.cluster.x-k8s.io/answered-request"
	// AnnotationRevoked marks a host whose identity was revoked; an administrator may let it in again.
	AnnotationRevoked = "elementalhost.infrastructure.cluster.x-k8s.io/revoked"
	// AnnotationForceDelete releases, by the value "true", a host that is gone for good.
	AnnotationForceDelete = core.AnnotationForceDelete
	// AnnotationBootstrapFrom names the Secret whose bootstrap data was copied for a host: "<secret>" where someone named
	// it by hand, and "<uid>/<secret>" where it is that of the ElementalMachine which the host serves.
	AnnotationBootstrapFrom = "elementalhost.infrastructure.cluster.x-k8s.io/bootstrap-from"
	// AnnotationResetTaken names the report of a reset by which the label LabelNeedsReset was last taken away, for as
	// long as that report stands: it is not to answer the next one, too.
	AnnotationResetTaken = "elementalhost.infrastructure.cluster.x-k8s.io/reset-taken"
	// AnnotationForwardedFrom is "<uid>/<generation>" of the ElementalMachine whose wishes the host's spec carries.
	AnnotationForwardedFrom = "elementalhost.infrastructure.cluster.x-k8s.io/forwarded-from"
	// AnnotationJudged says by which outcome the last in-place update came to be called done or failed.
	AnnotationJudged = "elementalhost.infrastructure.cluster.x-k8s.io/judged"
	// AnnotationPaused stops all work on an object while it is present. It is Cluster API's own.
	AnnotationPaused = "cluster.x-k8s.io/paused"
)

// Finalizer holds a host, and a machine, until the host was reset.
const Finalizer = "elementalmachine.infrastructure.cluster.x-k8s.io"
