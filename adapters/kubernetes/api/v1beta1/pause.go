package v1beta1

// AnnotationDeleteForMove is what clusterctl puts on an object of the cluster that it was moved away from, in place of
// all its other annotations, before it takes its finalizers off and deletes it.
const AnnotationDeleteForMove = "clusterctl.cluster.x-k8s.io/delete-for-move"

// IsPaused says whether the host is to be left alone: it is paused, or is being moved to another cluster, in which it
// lives on.
func (h *ElementalHost) IsPaused() bool {
	for _, annotation := range []string{AnnotationPaused, AnnotationDeleteForMove} {
		if _, there := h.Annotations[annotation]; there {
			return true
		}
	}
	return false
}
