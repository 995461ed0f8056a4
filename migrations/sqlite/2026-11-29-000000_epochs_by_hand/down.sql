DROP TRIGGER epoch_chosen_for_new_id;
